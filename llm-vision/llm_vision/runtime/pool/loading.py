"""Loads models: one shared load a model for all who wait, and a pause after one that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ...admission.places import RETRY_AFTER_SECONDS
from ...errors import InsufficientMemory, ModelLoadFailed, ShuttingDown, VisionError
from ...metrics import Metrics
from ...models.base import ModelSpec
from ..placement.placements import Placement, Placements
from ..weights.failures import Stamps, file_stamps
from ..weights.looks import VolumeLooks
from ..weights.store import LocatedWeights
from ..worker.owner import Owner
from ..worker.worker import Worker
from .limits import PoolLimits
from .room import Room
from .slots import Slot
from .workers import Workers

log = logging.getLogger(__name__)


def _read_exception(load: asyncio.Task[None]) -> None:
    """Whoever waits for a load is told of its failure; perhaps nobody does any more."""
    if not load.cancelled():
        load.exception()


class Loading:
    """The loads of all models.

    Args:
        workers: makes a model's worker.
        room: makes room for it.
        limits: how long a failed load is not tried again.
        metrics: where loads are counted.
        clock: seconds that only go forward.
    """

    def __init__(
        self, workers: Workers, room: Room, limits: PoolLimits, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._workers = workers
        self._room = room
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._turn = asyncio.Lock()
        """One load after the other: none takes the room that another one waits for."""
        self._look = VolumeLooks()
        self._closed = False

    async def loaded_worker(self, slot: Slot, *, retry_failed: bool) -> Worker:
        """The worker of a model, loaded first when it is not in memory.

        Args:
            slot: the model's.
            retry_failed: even when it has just failed to load.

        Raises:
            ModelLoadFailed, InsufficientMemory, ShuttingDown: as their names say.
        """
        checked: VisionError | None = None
        while slot.worker is None:
            if self._closed:
                raise ShuttingDown("the service is shutting down", retry_after=RETRY_AFTER_SECONDS)
            if slot.loading is None:
                failure = slot.failures.last
                if not retry_failed and failure is not checked and self._is_in_pause(slot):
                    stamps = await self._stamps_of(slot)
                    slot.failures.check(self._clock(), self._limits.failed_load_seconds, stamps)
                    checked = failure
                    continue  # meanwhile another request may have begun a load
                slot.loading = asyncio.create_task(self._load(slot))
                slot.loading.add_done_callback(_read_exception)
            try:
                await asyncio.shield(slot.loading)  # a waiter that leaves does not end the load for the others
            except asyncio.CancelledError:
                if self._closed:
                    raise ShuttingDown("the service is shutting down") from None
                raise
        return slot.worker

    def _is_in_pause(self, slot: Slot) -> bool:
        return slot.failures.pause_left(self._clock(), self._limits.failed_load_seconds) > 0

    async def close(self, slots: Iterable[Slot]) -> None:
        """End all loads; none is begun any more."""
        self._closed = True
        loads = [slot.loading for slot in slots if slot.loading]
        for load in loads:
            load.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    async def _load(self, slot: Slot) -> None:
        started = self._clock()
        try:
            with self._remembering_failure(slot):
                weights = await self._workers.locate(slot.spec)
            async with self._turn:
                placements = await self._placements_of(slot.spec, weights)
                async with self._room.made(slot, placements.best_first[0].memory_bytes):
                    slot.worker = await self._start_worker(slot, weights, placements)
            log.info("loaded", extra={"model": slot.spec.model_id, "seconds": round(self._clock() - started, 2)})
        except VisionError as error:
            if slot.failures.last is error:  # else it has not been tried
                await self._remember_files(slot)
            raise
        finally:
            slot.loading = None

    async def _placements_of(self, spec: ModelSpec, weights: LocatedWeights) -> Placements:
        """Those that fit into the models' memory."""
        possible = await self._workers.placements(spec, weights)
        placements = possible.within(self._limits.memory_bytes)
        if not placements.best_first:
            raise InsufficientMemory(
                f"{spec.model_id} cannot run: {possible.reason_against(self._limits.memory_bytes)}"
            )
        return placements

    async def _make_room(self, slot: Slot, placement: Placement) -> None:
        """Let a worker go on in its next placement."""
        if asyncio.current_task() is slot.loading:  # the load, which holds the lock
            await self._room.make_more(slot, placement.memory_bytes)
        else:
            async with self._room.made(slot, placement.memory_bytes):
                pass  # from here on, others see the memory of the placement

    async def _start_worker(self, slot: Slot, weights: LocatedWeights, placements: Placements) -> Worker:
        owner = Owner(
            arriving=lambda: slot.places.arriving,
            on_failed=lambda error: self._forget_failed(slot, error),
            make_room=lambda placement: self._make_room(slot, placement),
        )
        worker = self._workers.make(slot.entry, weights, placements, owner)
        with self._remembering_failure(slot):
            await worker.start()
        slot.failures.forget()
        self._metrics.count_load(slot.spec.model_id, succeeded=True)
        return worker

    @contextmanager
    def _remembering_failure(self, slot: Slot) -> Iterator[None]:
        try:
            yield
        except VisionError as error:
            self._remember_failure(slot, error)
            raise

    def _remember_failure(self, slot: Slot, error: VisionError) -> None:
        slot.failures.remember(error, self._clock())
        self._metrics.count_load(slot.spec.model_id, succeeded=False)
        log.error(error.detail, extra={"model": slot.spec.model_id, "code": error.code})

    async def _remember_files(self, slot: Slot) -> None:
        """What a load that failed has seen; read while no lock is held: a volume may hang."""
        slot.failures.remember_files(await self._stamps_of(slot))

    async def _stamps_of(self, slot: Slot) -> Stamps:
        """Those of a model's files; none where its volume does not answer, which keeps nobody else waiting."""
        try:
            return await self._look(lambda: file_stamps(self._workers.files(slot.spec)))
        except ModelLoadFailed:
            return frozenset()

    async def _forget_failed(self, slot: Slot, error: VisionError) -> None:
        """A worker crashed and could not be restarted: the next request loads anew."""
        slot.worker = None
        self._room.look_again()
        self._remember_failure(slot, error)
        await self._remember_files(slot)
