"""Bodies of OpenAI's API under /v1, as far as it is spoken here; other fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..shared.confidence import Confidence

MOST_MESSAGES, MOST_PARTS = 256, 64
MOST_TOOLS = 64
MOST_STOPS, LONGEST_STOP = 16, 256
DEFAULT_TOKENS, MOST_TOKENS = 512, 131_072

_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
_Stop = Annotated[str, Field(max_length=LONGEST_STOP)]


class _Part(BaseModel):
    """A part of a body: types are taken at their word, what is not known is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True)


class TextPart(_Part):
    """Text of a message."""

    type: Literal["text"]
    text: str


class RefusalPart(_Part):
    """What the assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(_Part):
    """Where a picture is."""

    url: str
    """A data URI with base64, or an address (off until `VISION_URL_HOSTS` allows hosts)."""


class ImagePart(_Part):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl | str


class Stream(_Part):
    """Which live stream."""

    stream_id: str = Field(min_length=1, max_length=128)


class StreamPart(_Part):
    """The newest frame of a live stream, as Jetson's services write it."""

    type: Literal["stream"]
    stream: Stream


class FunctionCall(_Part):
    """What was called."""

    name: _Name
    arguments: str
    """A JSON object."""


class ToolCall(_Part):
    """A call of an earlier turn."""

    id: str | None = Field(None, max_length=256)
    type: Literal["function"] = "function"
    function: FunctionCall


Part = Annotated[TextPart | ImagePart | StreamPart | RefusalPart, Field(discriminator="type")]


class ChatMessage(_Part):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    """`function` is what `tool` was called before."""
    name: str | None = Field(None, max_length=256)
    content: str | Annotated[list[Part], Field(max_length=MOST_PARTS)] | None = None
    tool_calls: list[ToolCall] | None = Field(None, max_length=MOST_TOOLS)
    tool_call_id: str | None = Field(None, max_length=256)


class StreamOptions(_Part):
    """How tokens are streamed."""

    include_usage: bool | None = False
    """Whether a last chunk tells the usage."""


class Function(_Part):
    """A function that a model may call."""

    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema."""


class FunctionTool(_Part):
    """A tool: only functions are known."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Part):
    name: _Name


class NamedTool(_Part):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(_Part):
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedTool] = Field(min_length=1, max_length=MOST_TOOLS)


class SomeTools(_Part):
    """Those of the tools that may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class SchemaFormat(_Part):
    """The schema of an answer."""

    name: str = Field("answer", max_length=64)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """Any object where it is left out."""


class TextFormat(_Part):
    type: Literal["text"]


class ObjectFormat(_Part):
    type: Literal["json_object"]


class JsonSchemaFormat(_Part):
    type: Literal["json_schema"]
    json_schema: SchemaFormat


class ChatBody(_Part):
    """A request of POST /v1/chat/completions."""

    model: str = Field(min_length=1, max_length=256)
    """Model id, or `auto` for the one that the service is set to; a reader of text (`manga-ocr`) tells the text."""
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2)
    """0, the most probable answer, when it is left out."""
    top_p: float | None = Field(None, gt=0, le=1)
    stop: _Stop | Annotated[list[_Stop], Field(max_length=MOST_STOPS)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    n: int | None = Field(1, ge=1, le=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: Annotated[TextFormat | ObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    tools: list[FunctionTool] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | SomeTools | None = None
    parallel_tool_calls: bool | None = True


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


class Choice(BaseModel):
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
    choices: list[Choice]
    usage: ChatUsage


class DeltaCall(MadeCall):
    index: int


class Delta(BaseModel):
    """What is new."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[DeltaCall] | None = None


class ChunkChoice(BaseModel):
    index: int = 0
    delta: Delta
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
