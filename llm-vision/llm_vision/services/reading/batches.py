"""Many crops in one request: a few at a time, in order, each for itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ...errors import QueueFull, RateLimited

Outcome = TypeVar("Outcome")

AT_ONCE = 8
"""Files of one batch that are on their way together: as many as a model takes, and few enough for others to pass."""
PAUSE_SECONDS = 0.25
MOST_BATCHES, MOST_OF_A_CLIENT = 8, 4
RETRY_AFTER_SECONDS = 10


class BatchPlaces:
    """The batches that are read at the same time: each waits for the models as long as it may."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """Read a batch for as long as the context lasts.

        Raises:
            QueueFull: as many as may be are being read.
            RateLimited: this client has as many as one may have.
        """
        if self._taken.total() >= MOST_BATCHES:
            raise QueueFull(f"{MOST_BATCHES} batches are being read", retry_after=RETRY_AFTER_SECONDS)
        if self._taken[client] >= MOST_OF_A_CLIENT:
            raise RateLimited(
                f"{MOST_OF_A_CLIENT} batches of this client are being read", retry_after=RETRY_AFTER_SECONDS
            )
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken -= Counter({client: 1})  # forgets who has none


async def read_in_order(count: int, read: Callable[[int], Awaitable[Outcome]]) -> AsyncIterator[Outcome]:
    """The outcome of each file, in their order, as soon as it and those before it are there.

    Args:
        count: files.
        read: reads one of them, by its number; does not raise.
    """
    places = asyncio.Semaphore(AT_ONCE)

    async def run(number: int) -> Outcome:
        async with places:
            return await read(number)

    tasks = [asyncio.create_task(run(number)) for number in range(count)]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def retry_while_full(read: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """What `read` returns; it is tried again while the model's queue is full. The caller sets the deadline."""
    while True:
        try:
            return await read()
        except (QueueFull, RateLimited):
            await asyncio.sleep(PAUSE_SECONDS)
