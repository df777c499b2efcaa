"""An answer that is made in a task of its own: its chunks as they come, then the whole of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, Self, TypeVar

from .inference import Chunk, OnChunk

Answer = TypeVar("Answer")


class AnswerStream(Generic[Answer]):
    """Chunks, then the whole answer. Making it begins at once; `close` ends it.

    Args:
        make: makes the answer, and hands on its chunks as they come.
    """

    def __init__(self, make: Callable[[OnChunk], Awaitable[Answer]]) -> None:
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue()
        self._made = asyncio.ensure_future(self._make(make))
        self._first: Chunk | None = None
        self._first_at: float | None = None
        self.ended_at: float | None = None
        """When it was made, on `time.perf_counter`."""

    async def _make(self, make: Callable[[OnChunk], Awaitable[Answer]]) -> Answer:
        try:
            return await make(self._take)
        finally:
            self.ended_at = time.perf_counter()
            self._chunks.put_nowait(None)

    def _take(self, chunk: Chunk) -> None:
        if self._first_at is None:
            self._first_at = time.perf_counter()
        self._chunks.put_nowait(chunk)

    async def begin(self) -> Self:
        """Wait for the first chunk, or the end: until then a failure can be answered with a status.

        Raises:
            VisionError: there is no answer.
        """
        try:
            self._first = await self._chunks.get()
            if self._first is None:
                await self._made
        except BaseException:
            await self.close()
            raise
        return self

    @property
    def chunk_seconds(self) -> float:
        """From the first chunk to the end, once it is made; however slowly a client reads."""
        if self._first_at is None or self.ended_at is None:
            return 0.0
        return self.ended_at - self._first_at

    async def chunks(self) -> AsyncIterator[Chunk]:
        """What has come and is coming; only after `begin`."""
        chunk = self._first
        while chunk is not None:
            yield chunk
            chunk = await self._chunks.get()

    async def answer(self) -> Answer:
        """The whole answer, behind the last chunk.

        Raises:
            VisionError: it broke off.
        """
        return await self._made

    async def finish(self) -> Answer:
        """The whole answer, where nobody is sent its chunks.

        Raises:
            VisionError: it broke off.
        """
        try:
            return await self._made
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop making it."""
        self._made.cancel()
        await asyncio.gather(self._made, return_exceptions=True)
