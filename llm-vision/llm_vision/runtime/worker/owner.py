"""Whom a worker asks and tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import VisionError


def _nobody_arrives() -> int:
    return 0


def _tell_nobody(error: VisionError) -> None:
    """Nobody has to know."""


@dataclass(frozen=True)
class Owner:
    """What a worker needs of who keeps it."""

    arriving: Callable[[], int] = _nobody_arrives
    """How many admitted requests are still on their way to the queue."""
    on_failed: Callable[[VisionError], None] = _tell_nobody
    """Called once when a restart failed and the worker is of no use any more."""
