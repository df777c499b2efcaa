"""Which models are in memory: loads on first lease, unloads when idle, never while leased."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...admission.places import RETRY_AFTER_SECONDS, Places
from ...errors import InsufficientMemory, ModelInUse, ModelNotFound, ShuttingDown, VisionError
from ...metrics import Metrics
from ...models.base import ModelSpec
from ...models.registry import Catalog
from ..placement.placements import Placements
from ..worker.worker import Worker
from .slots import ModelStatus, Slot
from .workers import Workers

log = logging.getLogger(__name__)


def _read_exception(load: asyncio.Task[None]) -> None:
    """Whoever waits for a load is told of its failure; perhaps nobody does any more."""
    if not load.cancelled():
        load.exception()


@dataclass(frozen=True)
class PoolLimits:
    """How many models may be in memory, how large, for how long (seconds)."""

    max_loaded: int
    memory_bytes: int
    max_queue: int
    keep_alive: float = 300
    failed_load_seconds: float = 30
    room_seconds: float = 30
    """How long a load waits for another model to become idle."""


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
            model_id: Slot(entry, limits.keep_alive, limits.max_queue, partial(workers.files, entry.spec))
            for model_id, entry in catalog.items()
        }
        self._aliases = catalog.aliases
        self._workers = workers
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._memory_lock = asyncio.Lock()  # one load or unload at a time: their memory must not overlap
        self._became_idle = asyncio.Event()  # for `expire_forever`
        self._lease_ended = asyncio.Event()  # for a load that waits for room
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = False

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
            yield await self._loaded_worker(slot, retry_failed=False)
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
            await self._loaded_worker(slot, retry_failed=True)
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
        async with self._memory_lock:
            if slot.leases:
                raise ModelInUse(f"{model_id} is in use; try again when its requests have ended")
            return await self._unload(slot)

    async def expire(self) -> None:
        """Unload every model that has been idle for longer than its keep_alive."""
        for slot in self._slots.values():
            if self._is_expired(slot):
                async with self._memory_lock:
                    if self._is_expired(slot):  # somebody may have leased it while we waited
                        log.info("unloading an idle model", extra={"model": slot.spec.model_id})
                        await self._unload(slot)

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
        self._closed = True
        loads = [slot.loading for slot in self._slots.values() if slot.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await asyncio.gather(*(self._unload(slot) for slot in self._slots.values()))
        await asyncio.gather(*self._stopping)

    def is_loading(self, model_id: str) -> bool:
        """Whether requests for a model wait for its load."""
        return self._slot(model_id).status(self._clock()).state == "loading"

    def keep_alive(self, model_id: str) -> float:
        """Seconds that a model stays in memory when it is idle; -1 for ever."""
        return self._slot(model_id).keep_alive

    def files(self, model_id: str) -> Iterable[Path]:
        """What a model loads; where there is nothing, the places that would change if there were."""
        return self._workers.files(self._slot(model_id).spec)

    def status(self) -> list[ModelStatus]:
        """Every model and its state."""
        return [slot.status(self._clock()) for slot in self._slots.values()]

    @property
    def recovering(self) -> list[str]:
        """Models whose device failed and that are being started again."""
        return [id_ for id_, slot in self._slots.items() if slot.worker and slot.worker.is_recovering]

    def _slot(self, model_id: str) -> Slot:
        try:
            return self._slots[self._aliases.get(model_id, model_id)]
        except KeyError:
            raise ModelNotFound(f"there is no such model; there are: {', '.join(self._slots)}") from None

    def _end_lease(self, slot: Slot) -> None:
        slot.leases -= 1
        slot.last_used = self._clock()
        if not slot.leases:
            self._became_idle.set()
            self._lease_ended.set()

    async def _loaded_worker(self, slot: Slot, *, retry_failed: bool) -> Worker:
        while slot.worker is None:
            if self._closed:
                raise ShuttingDown("the service is shutting down", retry_after=RETRY_AFTER_SECONDS)
            if slot.loading is None:
                if not retry_failed:
                    slot.failures.check(self._clock(), self._limits.failed_load_seconds)
                slot.loading = asyncio.create_task(self._load(slot))
                slot.loading.add_done_callback(_read_exception)
            try:
                await asyncio.shield(slot.loading)  # a waiter that leaves does not end the load for the others
            except asyncio.CancelledError:
                if self._closed:
                    raise ShuttingDown("the service is shutting down") from None
                raise
        return slot.worker

    async def _load(self, slot: Slot) -> None:
        started = self._clock()
        try:
            async with self._memory_lock:
                placements = await self._make_room(slot.spec)
                slot.worker = await self._start_worker(slot, placements)
            log.info("loaded", extra={"model": slot.spec.model_id, "seconds": round(self._clock() - started, 2)})
        finally:
            slot.loading = None

    async def _start_worker(self, slot: Slot, placements: Placements) -> Worker:
        try:
            worker = self._workers.make(
                slot.entry,
                placements,
                arriving=lambda: slot.places.arriving,
                on_failed=lambda error: self._forget_failed(slot, error),
            )
            await worker.start()
        except VisionError as error:
            self._remember_failure(slot, error)
            raise
        slot.failures.forget()
        self._metrics.model_load_ended(slot.spec.model_id, succeeded=True)
        return worker

    def _remember_failure(self, slot: Slot, error: VisionError) -> None:
        slot.failures.remember(error, self._clock())
        self._metrics.model_load_ended(slot.spec.model_id, succeeded=False)
        log.error(error.detail, extra={"model": slot.spec.model_id, "code": error.code})

    def _forget_failed(self, slot: Slot, error: VisionError) -> None:
        """A worker crashed and could not be restarted: the next request loads anew."""
        slot.worker = None
        self._remember_failure(slot, error)

    async def _make_room(self, spec: ModelSpec) -> Placements:
        """Unload idle models, the longest idle first, until this one fits; wait for one to become idle.

        Returns:
            the placements that fit into the models' memory.
        """
        possible = await self._workers.placements(spec)
        placements = possible.within(self._limits.memory_bytes)
        if not placements.best_first:
            raise InsufficientMemory(
                f"{spec.model_id} cannot run: {possible.reason_against(self._limits.memory_bytes)}"
            )
        need = placements.best_first[0].memory_bytes
        deadline = asyncio.get_running_loop().time() + self._limits.room_seconds
        while not self._fits(need):
            self._lease_ended.clear()
            if await self._unload_oldest_idle():
                continue
            try:
                async with asyncio.timeout_at(deadline):
                    await self._lease_ended.wait()
            except TimeoutError:
                raise InsufficientMemory(
                    f"{spec.model_id} needs {need >> 20} MiB and the models in memory are all in use",
                    retry_after=RETRY_AFTER_SECONDS,
                ) from None
        return placements

    async def _unload_oldest_idle(self) -> bool:
        idle = [slot for slot in self._slots.values() if slot.worker and not slot.leases]
        if not idle:
            return False
        oldest = min(idle, key=lambda slot: slot.last_used)
        log.info("unloading to make room", extra={"model": oldest.spec.model_id})
        return await self._unload(oldest)

    def _fits(self, need: int) -> bool:
        """Whether so many bytes more fit beside the models in memory."""
        loaded = [slot.worker for slot in self._slots.values() if slot.worker]
        used = sum(max(worker.placement.memory_bytes, worker.memory_bytes) for worker in loaded)
        return len(loaded) < self._limits.max_loaded and used + need <= self._limits.memory_bytes

    async def _unload(self, slot: Slot) -> bool:
        worker, slot.worker = slot.worker, None
        if worker is None:
            return False
        slot.keep_alive = self._limits.keep_alive
        stopping = asyncio.create_task(worker.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        await asyncio.shield(stopping)  # whoever asked for it may leave; the process must end
        return True

    def _is_expired(self, slot: Slot) -> bool:
        return slot.expires_in(self._clock()) == 0
