"""The answer of a conversation while it is made: its text, without what turns out to be calls of tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...models.base import JsonObject
from ..answer_stream import AnswerStream
from ..inference import Chunk, OnChunk
from .messages import Call, may_become_calls


@dataclass(frozen=True)
class ChatAnswer:
    """What a model answered."""

    model_id: str
    text: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    confidence: float | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reused_tokens: int = 0
    calls: tuple[Call, ...] = ()
    logprobs: Sequence[JsonObject] | None = None
    queue_seconds: float = 0.0
    run_seconds: float = 0.0


class ChatStream(AnswerStream[ChatAnswer]):
    """The chunks that are text, then the whole answer.

    Args:
        make: see `AnswerStream`.
        may_call: whether the text may turn out to be calls; what may be some is held back until that is known.
    """

    def __init__(self, make: Callable[[OnChunk], Awaitable[ChatAnswer]], *, may_call: bool) -> None:
        super().__init__(make)
        self._may_call = may_call

    async def chunks(self) -> AsyncIterator[Chunk]:
        """What has come and is coming; only after `begin`.

        Raises:
            VisionError: the answer broke off.
        """
        held, logprobs, may_call = "", list[JsonObject](), self._may_call
        async for chunk in super().chunks():
            held += chunk.text
            logprobs += chunk.logprobs
            if may_call and may_become_calls(held):
                continue
            may_call = False
            yield Chunk(held, tuple(logprobs))
            held, logprobs = "", []
        if held and not (await self.answer()).calls:
            yield Chunk(held, tuple(logprobs))
