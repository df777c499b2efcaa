"""A model's slot in the pool: its worker when it is loaded, its leases, and the requests it has taken in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ...admission.places import Places
from ...models.base import ModelSpec
from ...models.registry import CatalogEntry
from ..weights.failures import LoadFailures
from ..worker.worker import Worker

KEEP_FOR_EVER = -1.0


@dataclass(frozen=True)
class ModelStatus:
    """A model as `/models` shows it."""

    spec: ModelSpec
    state: str
    leases: int
    queue_length: int
    device: str | None
    quantization: str | None
    device_notice: str | None
    memory_bytes: int
    expires_in: float | None
    last_error: str | None


class Slot:
    """A model's slot in the pool, loaded or not.

    Args:
        entry: the model.
        keep_alive: seconds that it stays when it is idle.
        max_queue: requests that may wait for it.
    """

    def __init__(self, entry: CatalogEntry, keep_alive: float, max_queue: int) -> None:
        self.entry = entry
        self.keep_alive = keep_alive
        self.places = Places(entry.spec.max_batch + max_queue)
        self.worker: Worker | None = None
        self.loading: asyncio.Task[None] | None = None
        self.leases = 0
        self.last_used = 0.0
        self.failures = LoadFailures()

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
            device=worker.placement.device if worker else None,
            quantization=worker.placement.quantization if worker else None,
            device_notice=worker.device_notice if worker else None,
            memory_bytes=worker.memory_bytes if worker else 0,
            expires_in=self.expires_in(now),
            last_error=self.failures.last.detail if self.failures.last else None,
        )

    def _state(self) -> str:
        if self.worker:
            return self.worker.state.value
        if self.loading:
            return "loading"
        return "failed" if self.failures.last else "not_loaded"
