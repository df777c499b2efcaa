"""An answer in the shapes of OpenAI's chat completions, whole and in chunks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ...errors import VisionError
from ...http.problem import error_body
from ...services.chat.messages import Call
from ...services.chat.stream import ChatAnswer, ChatStream
from .answer_bodies import (
    AnswerMessage,
    CalledFunction,
    ChatChunk,
    ChatCompletion,
    ChatCompletionChoice,
    ChatDelta,
    ChatUsage,
    ChunkChoice,
    DeltaCall,
    Logprobs,
    MadeCall,
    PromptDetails,
)


def make_completion(answer: ChatAnswer) -> dict[str, Any]:
    """The whole answer."""
    calls = [MadeCall(**_as_call(call)) for call in answer.calls] or None
    choice = ChatCompletionChoice(
        message=AnswerMessage(content=None if calls else answer.text, tool_calls=calls),
        logprobs=_as_logprobs(answer.logprobs) if answer.logprobs is not None else None,
        finish_reason=answer.finish_reason,
        confidence=answer.confidence,
    )
    whole = ChatCompletion(
        id=_new_id(), created=int(time.time()), model=answer.model_id, choices=[choice], usage=_as_usage(answer)
    ).model_dump()
    if calls is None:
        del whole["choices"][0]["message"]["tool_calls"]  # clients look for the key
    return whole


class Chunks:
    """The chunks of one answer.

    Args:
        model_id: who answers.
        include_usage: whether a last one reports the usage.
    """

    def __init__(self, model_id: str, *, include_usage: bool) -> None:
        self._model_id = model_id
        self._include_usage = include_usage
        self._id = _new_id()
        self._created = int(time.time())

    async def events(self, stream: ChatStream) -> AsyncIterator[str]:
        """All events, each as soon as it is known."""
        yield self._make_event(ChatDelta(role="assistant", content=""))
        async for chunk in stream.chunks():
            yield self._make_event(ChatDelta(content=chunk.text), chunk.logprobs)
        answer = await stream.answer()
        if answer.calls:
            calls = [DeltaCall(index=number, **_as_call(call)) for number, call in enumerate(answer.calls)]
            yield self._make_event(ChatDelta(tool_calls=calls))
        yield self._make_last_event(answer)
        if self._include_usage:
            yield _format_event({**self._make_chunk([]), "usage": _as_usage(answer).model_dump()})
        yield "data: [DONE]\n\n"

    def _make_event(self, delta: ChatDelta, logprobs: Sequence[dict[str, Any]] = ()) -> str:
        content = _as_logprobs(logprobs) if logprobs else None
        choice = ChunkChoice(delta=delta, logprobs=content).model_dump(exclude={"confidence"})
        choice["delta"] = delta.model_dump(exclude_none=True)
        return _format_event(self._make_chunk([choice]))

    def _make_last_event(self, answer: ChatAnswer) -> str:
        choice = ChunkChoice(delta=ChatDelta(), finish_reason=answer.finish_reason, confidence=answer.confidence)
        return _format_event(self._make_chunk([{**choice.model_dump(), "delta": {}}]))

    def _make_chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = ChatChunk(id=self._id, created=self._created, model=self._model_id, choices=[]).model_dump()
        if not self._include_usage:
            del chunk["usage"]
        return {**chunk, "choices": choices}


def failure_event(error: VisionError, request_id: str) -> str:
    """The event of an answer that broke off."""
    return _format_event({"error": error_body(error, request_id).error.model_dump()})


def _format_event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def _as_call(call: Call) -> dict[str, Any]:
    function = CalledFunction(name=call.name, arguments=json.dumps(call.arguments, ensure_ascii=False))
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "function": function}


def _as_logprobs(tokens: Sequence[dict[str, Any]]) -> Logprobs:
    return Logprobs.model_validate({"content": list(tokens)})


def _as_usage(answer: ChatAnswer) -> ChatUsage:
    return ChatUsage(
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        total_tokens=answer.prompt_tokens + answer.completion_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=answer.reused_tokens),
    )
