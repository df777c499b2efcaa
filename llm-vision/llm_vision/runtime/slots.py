"""A model's place in the pool: its worker when it is loaded, its leases, and the requests it has taken in."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ..models.base import ModelSpec
from ..models.registry import CatalogEntry
from .load_failures import LoadFailures
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
        self.admissions: list[Admission] = []
        self.arriving = 0
        self.last_used = 0.0
        self.failures = LoadFailures(entry.spec)

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
            last_error=self.failures.last.detail if self.failures.last else None,
        )

    def _state(self) -> str:
        if self.worker:
            return self.worker.state.value
        if self.loading:
            return "loading"
        return "failed" if self.failures.last else "not_loaded"


class Admission:
    """A request that a model has taken in: on its way, then queued, then running.

    Args:
        slot: the model's place.
        client: who asks.
    """

    def __init__(self, slot: Slot, client: str) -> None:
        self._slot = slot
        self._is_arriving = True
        self._is_running = False
        self.client = client
        self.on_displaced: Callable[[], None] = lambda: None
        slot.admissions.append(self)
        slot.arriving += 1

    def arrived(self) -> None:
        """It is queued, or never will be."""
        if self._is_arriving:
            self._is_arriving = False
            self._slot.arriving -= 1

    def started(self) -> None:
        """It runs."""
        self._is_running = True

    def close(self) -> None:
        """The request has ended."""
        self.arrived()
        if self in self._slot.admissions:
            self._slot.admissions.remove(self)

    @classmethod
    def displace_for(cls, slot: Slot, client: str) -> bool:
        """Make a full slot give up the youngest waiting request of the client that has most of them.

        Returns:
            Whether a place is free now: not when the new request's own client has as many as any other.
        """
        places = Counter(admission.client for admission in slot.admissions)
        greediest, most = places.most_common(1)[0]
        waiting = [found for found in slot.admissions if found.client == greediest and not found._is_running]
        if most <= places[client] + 1 or not waiting:
            return False
        slot.admissions.remove(waiting[-1])
        waiting[-1].on_displaced()
        return True
