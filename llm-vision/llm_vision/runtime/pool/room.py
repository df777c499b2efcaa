"""Room in the models' memory: what fits, and which idle models are unloaded for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from ...admission.places import RETRY_AFTER_SECONDS
from ...errors import InsufficientMemory
from ...models.base import ModelSpec
from ..placement.placements import Placements
from .limits import PoolLimits
from .slots import Slot
from .workers import Workers

log = logging.getLogger(__name__)


class Room:
    """The memory that all models share.

    Args:
        slots: all models.
        workers: knows in which placements a model can run.
        limits: how many, how large, for how long.
    """

    def __init__(self, slots: Collection[Slot], workers: Workers, limits: PoolLimits) -> None:
        self._slots = slots
        self._workers = workers
        self._limits = limits
        self.lock = asyncio.Lock()
        """One load or unload at a time: their memory must not overlap."""
        self._lease_ended = asyncio.Event()
        self._stopping: set[asyncio.Task[None]] = set()

    async def make(self, spec: ModelSpec) -> Placements:
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

    def look_again(self) -> None:
        """A model has become idle: who waits for room looks whether there is some."""
        self._lease_ended.set()

    async def unload(self, slot: Slot) -> bool:
        """Unload a model, whoever uses it; False when it was not in memory."""
        worker, slot.worker = slot.worker, None
        if worker is None:
            return False
        slot.keep_alive = self._limits.keep_alive
        stopping = asyncio.create_task(worker.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        await asyncio.shield(stopping)  # whoever asked for it may leave; the process must end
        return True

    async def close(self) -> None:
        """Unload everything."""
        await asyncio.gather(*(self.unload(slot) for slot in self._slots))
        await asyncio.gather(*self._stopping)

    async def _unload_oldest_idle(self) -> bool:
        idle = [slot for slot in self._slots if slot.worker and not slot.leases]
        if not idle:
            return False
        oldest = min(idle, key=lambda slot: slot.last_used)
        log.info("unloading to make room", extra={"model": oldest.spec.model_id})
        return await self.unload(oldest)

    def _fits(self, need: int) -> bool:
        """Whether so many bytes more fit beside the models in memory."""
        loaded = [slot.worker for slot in self._slots if slot.worker]
        used = sum(max(worker.placement.memory_bytes, worker.memory_bytes) for worker in loaded)
        return len(loaded) < self._limits.max_loaded and used + need <= self._limits.memory_bytes
