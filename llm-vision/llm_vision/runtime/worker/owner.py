"""Whom a worker asks and tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ...errors import VisionError
from ..placement.placements import Placement


def _nobody_arrives() -> int:
    return 0


async def _take_room(placement: Placement) -> None:
    """There is enough."""


async def _tell_nobody(error: VisionError) -> None:
    """Nobody has to know."""


@dataclass(frozen=True)
class Owner:
    """What a worker needs of who keeps it."""

    arriving: Callable[[], int] = _nobody_arrives
    """How many admitted requests are still on their way to the queue."""
    on_failed: Callable[[VisionError], Awaitable[None]] = _tell_nobody
    """Awaited once when a restart failed and the worker is of no use any more."""
    make_room: Callable[[Placement], Awaitable[None]] = _take_room
    """Awaited before the worker goes on in its next placement; raises InsufficientMemory where there is no room."""
