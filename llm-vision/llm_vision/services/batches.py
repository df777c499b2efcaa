"""Many crops in one request: a few at a time, in order, each for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from ..errors import QueueFull, RateLimited

Outcome = TypeVar("Outcome")

AT_ONCE = 8
"""Files of one batch that are on their way together: as many as a model takes, and few enough for others to pass."""
PAUSE_SECONDS = 0.25


async def in_order(count: int, read: Callable[[int], Awaitable[Outcome]]) -> AsyncIterator[Outcome]:
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


async def patiently(read: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """What it returns; while the model's queue is full, it is tried again. The caller sets the end."""
    while True:
        try:
            return await read()
        except (QueueFull, RateLimited):
            await asyncio.sleep(PAUSE_SECONDS)
