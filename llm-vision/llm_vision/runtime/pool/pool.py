"""Which models are in memory: loads on first lease, unloads when idle, never while leased."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ...admission.places import Places
from ...errors import ModelInUse, ModelNotFound
from ...metrics import Metrics
from ...models.base import ModelSpec
from ...models.registry import Catalog
from ..worker.worker import Worker
from .limits import PoolLimits
from .loading import Loading
from .room import Room
from .slots import ModelStatus, Slot
from .workers import Workers

log = logging.getLogger(__name__)


class ModelPool:
    """All models of a catalogue, each in memory or not.

    Args:
        catalog: the models.
        workers: makes a model's worker, and knows its files.
        limits: how many, how large, for how long.
        metrics: where loads are counted.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        catalog: Catalog,
        workers: Workers,
        limits: PoolLimits,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = {
            model_id: Slot(entry, limits.keep_alive, limits.max_queue) for model_id, entry in catalog.items()
        }
        self._catalog = catalog
        self._clock = clock
        self._became_idle = asyncio.Event()  # for `expire_forever`
        self._room = Room(self._slots.values(), limits)
        self._loading = Loading(workers, self._room, limits, metrics, clock)

    def spec(self, model_id: str) -> ModelSpec:
        """What is known of a model.

        Raises:
            ModelNotFound: there is no such model.
        """
        return self._slot(model_id).spec

    def places(self, model_id: str) -> Places:
        """The places for a model's requests.

        Raises:
            ModelNotFound: there is no such model.
        """
        return self._slot(model_id).places

    @asynccontextmanager
    async def lease(self, model_id: str) -> AsyncIterator[Worker]:
        """Keep a model in memory while it is used; load it first when it is not there.

        Raises:
            ModelNotFound, ModelLoadFailed, InsufficientMemory, ShuttingDown: as their names say.
        """
        slot = self._slot(model_id)
        slot.leases += 1  # before loading, so that nobody evicts a model on its way in
        try:
            yield await self._loading.loaded_worker(slot, retry_failed=False)
        finally:
            self._end_lease(slot)

    def keep(self, model_id: str, keep_alive: float) -> None:
        """How many seconds a model in memory stays there when it is idle; -1 for ever.

        Raises:
            ModelNotFound: there is no such model.
        """
        slot = self._slot(model_id)
        if slot.worker:
            slot.keep_alive = keep_alive
            self._became_idle.set()

    async def load(self, model_id: str, keep_alive: float | None = None) -> None:
        """Load a model now, even when it has just failed to load.

        Raises:
            ModelNotFound, ModelLoadFailed, InsufficientMemory, ShuttingDown: as their names say.
        """
        slot = self._slot(model_id)
        slot.leases += 1
        try:
            await self._loading.loaded_worker(slot, retry_failed=True)
            if keep_alive is not None:
                slot.keep_alive = keep_alive
        finally:
            self._end_lease(slot)

    async def unload(self, model_id: str) -> bool:
        """Unload a model; False when it was not in memory.

        Raises:
            ModelNotFound: there is no such model.
            ModelInUse: it is in use or loading; nothing changes.
        """
        slot = self._slot(model_id)
        async with self._room.lock:
            if slot.leases:
                raise ModelInUse(f"{model_id} is in use; try again when its requests have ended")
            return await self._room.unload(slot)

    async def expire(self) -> None:
        """Unload every model that has been idle for longer than its keep_alive."""
        for slot in self._slots.values():
            if self._is_expired(slot):
                async with self._room.lock:
                    if self._is_expired(slot):  # somebody may have leased it while we waited
                        log.info("unloading an idle model", extra={"model": slot.spec.model_id})
                        await self._room.unload(slot)

    async def expire_forever(self, interval: float = 1.0) -> None:
        """Run `expire` every `interval` seconds, and as soon as a model becomes idle."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._became_idle.wait()
            self._became_idle.clear()
            await self.expire()

    async def close(self) -> None:
        """Unload everything; no lease is given any more."""
        await self._loading.close(self._slots.values())
        await self._room.close()

    def is_loading(self, model_id: str) -> bool:
        """Whether requests for a model wait for its load."""
        return self._slot(model_id).status(self._clock()).state == "loading"

    def keep_alive(self, model_id: str) -> float:
        """Seconds that a model stays in memory when it is idle; -1 for ever."""
        return self._slot(model_id).keep_alive

    def status(self) -> list[ModelStatus]:
        """Every model and its state."""
        return [slot.status(self._clock()) for slot in self._slots.values()]

    @property
    def recovering(self) -> list[str]:
        """Models whose device failed and that are being started again."""
        return [id_ for id_, slot in self._slots.items() if slot.worker and slot.worker.is_recovering]

    def _slot(self, model_id: str) -> Slot:
        found = self._catalog.find(model_id)
        if found is None:
            raise ModelNotFound(self._catalog.explain_missing(model_id), param="model")
        return self._slots[found]

    def _end_lease(self, slot: Slot) -> None:
        slot.leases -= 1
        slot.last_used = self._clock()
        if not slot.leases:
            self._became_idle.set()
            self._room.look_again()

    def _is_expired(self, slot: Slot) -> bool:
        return slot.expires_in(self._clock()) == 0
