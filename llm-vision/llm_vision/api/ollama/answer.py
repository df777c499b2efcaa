"""An answer in the shapes of Ollama's API, whole and line by line."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ...services.chat.messages import Call
from ...services.chat.stream import ChatAnswer, ChatStream
from .bodies import AnswerEnd

_NANOSECONDS = 1_000_000_000
_REASONS = {"tool_calls": "stop"}
"""Where it has another word."""


def as_chat(text: str) -> dict[str, Any]:
    """Some text of /api/chat."""
    return {"message": {"role": "assistant", "content": text}}


def as_generated(text: str) -> dict[str, Any]:
    """Some text of /api/generate."""
    return {"response": text}


def format_line(value: dict[str, Any]) -> str:
    """A line of JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def format_time(seconds: float | None = None) -> str:
    """A time, now unless it is given, as RFC 3339."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


class Lines:
    """The lines of one answer.

    Args:
        model_id: who answers.
        shape: where the route's lines have their text.
    """

    def __init__(self, model_id: str, shape: Callable[[str], dict[str, Any]]) -> None:
        self.model_id = model_id
        self._shape = shape
        self._began = time.perf_counter()

    async def events(self, stream: ChatStream) -> AsyncIterator[str]:
        """All lines, each as soon as it is known."""
        async for chunk in stream.chunks():
            yield format_line(self._make_line(chunk.text))
        answer = await stream.answer()
        if answer.calls:
            yield format_line(self._add_calls(self._make_line(""), answer.calls))
        yield format_line(self._make_line("") | self._make_end(answer, stream))

    async def make_answer(self, stream: ChatStream) -> dict[str, Any]:
        """The whole answer in one."""
        answer = await stream.finish()
        line = self._make_line(answer.text) | self._make_end(answer, stream)
        return self._add_calls(line, answer.calls) if answer.calls else line

    def make_empty(self, reason: str) -> dict[str, Any]:
        """No answer: a model was loaded or unloaded."""
        return self._make_line("") | {"done": True, "done_reason": reason}

    def _make_line(self, text: str) -> dict[str, Any]:
        return {"model": self.model_id, "created_at": format_time(), **self._shape(text), "done": False}

    def _add_calls(self, line: dict[str, Any], calls: Sequence[Call]) -> dict[str, Any]:
        made = [{"function": {"name": call.name, "arguments": call.arguments}} for call in calls]
        return {**line, "message": {**line["message"], "tool_calls": made}}

    def _make_end(self, answer: ChatAnswer, stream: ChatStream) -> dict[str, Any]:
        total = (stream.ended_at or time.perf_counter()) - self._began
        saying = min(answer.run_seconds, stream.chunk_seconds)
        end = AnswerEnd(
            done_reason=_REASONS.get(answer.finish_reason, answer.finish_reason),
            total_duration=_to_nanoseconds(total),
            load_duration=_to_nanoseconds(total - answer.queue_seconds - answer.run_seconds),
            prompt_eval_count=answer.prompt_tokens,
            prompt_eval_duration=_to_nanoseconds(answer.run_seconds - saying),
            eval_count=answer.completion_tokens,
            eval_duration=_to_nanoseconds(saying),
            confidence=answer.confidence,
        )
        return {"done": True, **end.model_dump()}


def _to_nanoseconds(seconds: float) -> int:
    return int(max(0.0, seconds) * _NANOSECONDS)
