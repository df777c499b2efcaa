"""A model's place in the pool: its worker when it is loaded, its leases, and the requests it has taken in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..errors import VisionError
from ..models.base import ModelSpec
from ..models.registry import CatalogEntry
from .worker import Worker

KEEP_FOR_EVER = -1.0


@dataclass(frozen=True)
class ModelStatus:
    """A model as `/models` shows it."""

    spec: ModelSpec
    state: str
    leases: int
    queue_length: int
    device: str | None
    device_notice: str | None
    memory_bytes: int
    pid: int | None
    expires_in: float | None
    last_error: str | None


class Slot:
    """A model's place in the pool, loaded or not."""

    def __init__(self, entry: CatalogEntry, keep_alive: float) -> None:
        self.entry = entry
        self.keep_alive = keep_alive
        self.worker: Worker | None = None
        self.loading: asyncio.Task[None] | None = None
        self.leases = 0
        self.admitted = 0
        self.arriving = 0
        self.last_used = 0.0
        self.failure: VisionError | None = None
        self.failed_at = 0.0

    @property
    def spec(self) -> ModelSpec:
        return self.entry.spec

    def expires_in(self, now: float) -> float | None:
        """Seconds until it is unloaded if nobody uses it; None when it is in use, stays, or is not loaded."""
        if self.worker is None or self.leases or self.keep_alive == KEEP_FOR_EVER:
            return None
        return max(0.0, self.last_used + self.keep_alive - now)

    def status(self, now: float) -> ModelStatus:
        """What can be said of it."""
        worker = self.worker
        return ModelStatus(
            spec=self.spec,
            state=self._state(),
            leases=self.leases,
            queue_length=worker.queue_length if worker else 0,
            device=worker.device if worker else None,
            device_notice=worker.device_notice if worker else None,
            memory_bytes=worker.memory_bytes if worker else 0,
            pid=worker.pid if worker else None,
            expires_in=self.expires_in(now),
            last_error=self.failure.detail if self.failure else None,
        )

    def _state(self) -> str:
        if self.worker:
            return self.worker.state.value
        if self.loading:
            return "loading"
        return "failed" if self.failure else "not_loaded"


class Admission:
    """A request that a model has taken in; `arrived` when it has reached the worker's queue."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self._is_arriving = True
        slot.admitted += 1
        slot.arriving += 1

    def arrived(self) -> None:
        """It is queued, or never will be."""
        if self._is_arriving:
            self._is_arriving = False
            self._slot.arriving -= 1

    def close(self) -> None:
        """The request has ended."""
        self.arrived()
        self._slot.admitted -= 1
