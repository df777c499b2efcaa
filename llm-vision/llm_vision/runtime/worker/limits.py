"""How much a worker takes in, how long it waits, and where in its life it can be."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkerState(StrEnum):
    """Where a worker is in its life: loading -> ready -> (loading -> ready)* -> stopped | failed."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class WorkerLimits:
    """How much a worker takes in and how long it waits, in seconds."""

    max_batch: int
    max_queue: int = 32
    queue_seconds: float = 30
    batch_wait: float = 0.003
    load_seconds: float = 600
    abandoned_grace: float = 2.0
    """What nobody waits for any more may run this long before its process is killed."""
    places_for_others: int = 0
    """Of `max_batch`, for clients of whom nothing runs."""
    is_stepped: bool = False
    """Whether requests join while others run."""
