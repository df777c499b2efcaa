"""Bodies of answers in OpenAI's API under /v1."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..shared.confidence import Confidence


class ModelCard(BaseModel):
    """A model that can be named."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    """Not known: 0."""
    owned_by: str


class ModelCards(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class CalledFunction(BaseModel):
    name: str
    arguments: str
    """A JSON object."""


class MadeCall(BaseModel):
    """A call that a model wants to be made."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class AnswerMessage(BaseModel):
    """What a model says."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[dict[str, Any]] = []
    tool_calls: list[MadeCall] | None = None


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token, and the most probable ones in its place."""

    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """Log-probabilities of all tokens of the answer."""

    content: list[TokenLogprob]
    refusal: None = None


FinishReason = Literal["stop", "length", "tool_calls"]


class ChatCompletionChoice(BaseModel):
    """The answer: there is one."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    index: int = 0
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason
    confidence: Confidence | None
    """0..1, exp of the tokens' mean log-probability: how fluent the model was, not how right; null when not known."""


class PromptDetails(BaseModel):
    cached_tokens: int
    """Of the prompt, those that had been read before."""


class ChatUsage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatCompletionChoice]
    usage: ChatUsage


class DeltaCall(MadeCall):
    index: int


class ChatDelta(BaseModel):
    """What is new."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[DeltaCall] | None = None


class ChunkChoice(BaseModel):
    index: int = 0
    delta: ChatDelta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None
    confidence: Confidence | None = None
    """In the last one: as in a whole answer."""


class ChatChunk(BaseModel):
    """An event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None
