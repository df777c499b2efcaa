"""When requests must end: each by its own deadline, all of them soon after the stop was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..errors import ShuttingDown, VisionError


class Deadlines:
    """Every deadline that runs now, so that a stop can bring them forward."""

    def __init__(self) -> None:
        self._running: set[asyncio.Timeout] = set()
        self._drain_at: float | None = None

    @asynccontextmanager
    async def within(self, seconds: float, explain: Callable[[], VisionError]) -> AsyncIterator[asyncio.Timeout]:
        """End what runs inside after `seconds`, or when the service must end.

        Args:
            seconds: from now.
            explain: makes the error to raise when the time is over.

        Raises:
            VisionError: the one that `explain` makes.
            ShuttingDown: the service's time to finish is over.
        """
        ends_at = asyncio.get_running_loop().time() + seconds
        deadline = asyncio.timeout_at(min(ends_at, self._drain_at) if self._drain_at else ends_at)
        try:
            async with deadline:
                self._running.add(deadline)
                yield deadline
        except TimeoutError:
            if not deadline.expired():
                raise
            if self._drain_at is not None:
                raise ShuttingDown("the service is shutting down") from None
            raise explain() from None
        finally:
            self._running.discard(deadline)

    def drain(self, seconds: float) -> None:
        """End everything that runs within `seconds`, and everything later by then."""
        self._drain_at = asyncio.get_running_loop().time() + seconds
        for deadline in self._running:
            when = deadline.when()
            if when is None or when > self._drain_at:
                deadline.reschedule(self._drain_at)
