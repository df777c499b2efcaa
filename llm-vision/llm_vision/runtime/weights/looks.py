"""Looks at the volumes, which may be on another machine and hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ...admission.threads import DetachedThreads
from ...errors import ModelLoadFailed
from .failures import RETRY_LOAD

_MOST_LOOKS, _PATIENCE_SECONDS = 16, 5.0

Value = TypeVar("Value")


class VolumeLooks:
    """Runs looks in threads that nobody else needs, and gives each up after a while."""

    def __init__(self) -> None:
        self._threads = DetachedThreads(_MOST_LOOKS, "volume")

    async def __call__(self, look: Callable[[], Value]) -> Value:
        """What a look gives.

        Raises:
            ModelLoadFailed: there is no answer.
            Exception: whatever the look raises.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._threads.run(look)
        except TimeoutError:
            raise ModelLoadFailed("the volume of the weights does not answer", retry_after=RETRY_LOAD) from None
