"""Room in the models' memory: what fits, and which idle models are unloaded for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from ...admission.places import RETRY_AFTER_SECONDS
from ...errors import InsufficientMemory
from .limits import PoolLimits
from .slots import Slot

log = logging.getLogger(__name__)


class Room:
    """The memory that all models share.

    Args:
        slots: all models.
        limits: how many, how large, for how long.
    """

    def __init__(self, slots: Collection[Slot], limits: PoolLimits) -> None:
        self._slots = slots
        self._limits = limits
        self.lock = asyncio.Lock()
        """One load or unload at a time: their memory must not overlap."""
        self._changed = asyncio.Event()
        self._stopping: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def made(self, slot: Slot, need: int) -> AsyncIterator[None]:
        """Hold the lock, with room: idle models are unloaded, the longest idle first, until a model fits.

        Who waits for another model to become idle does not hold the lock: that model may ask for room itself.
        Nor does the wait for the lock count: others may load for long.

        Args:
            slot: the model's; its own memory does not count.
            need: its bytes.

        Raises:
            InsufficientMemory: the others are all in use for too long.
        """
        patience = self._limits.room_seconds
        while True:
            async with self.lock:
                if await self._unload_until_fits(slot, need):
                    yield
                    return
            patience = await self._wait(slot, need, patience)

    async def make_more(self, slot: Slot, need: int) -> None:
        """Make room as `made` does, for a model whose load holds the lock already.

        Raises:
            InsufficientMemory: the others are all in use for too long.
        """
        patience = self._limits.room_seconds
        while not await self._unload_until_fits(slot, need):
            patience = await self._wait(slot, need, patience)

    def look_again(self) -> None:
        """A model has become idle or is gone: who waits for room looks whether there is some."""
        self._changed.set()

    async def unload(self, slot: Slot) -> bool:
        """Unload a model, whoever uses it; False when it was not in memory."""
        worker, slot.worker = slot.worker, None
        if worker is None:
            return False
        slot.keep_alive = self._limits.keep_alive
        stopping = asyncio.create_task(worker.stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        stopping.add_done_callback(lambda _: self.look_again())
        await asyncio.shield(stopping)  # whoever asked for it may leave; the process must end
        return True

    async def close(self) -> None:
        """Unload everything."""
        await asyncio.gather(*(self.unload(slot) for slot in self._slots))
        await asyncio.gather(*self._stopping)

    async def _unload_until_fits(self, slot: Slot, need: int) -> bool:
        """Unload idle models, the longest idle first; False when one more must become idle."""
        self._changed.clear()
        while not self._fits(slot, need):
            if not await self._unload_oldest_idle(slot):
                return False
        return True

    async def _wait(self, slot: Slot, need: int, patience: float) -> float:
        """Wait until there may be room; the seconds that are left of those of patience."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            raise InsufficientMemory(
                f"{slot.spec.model_id} needs {need >> 20} MiB and the models in memory are all in use",
                retry_after=RETRY_AFTER_SECONDS,
            ) from None
        return deadline - loop.time()

    async def _unload_oldest_idle(self, asking: Slot) -> bool:
        idle = [slot for slot in self._slots if slot.worker and not slot.leases and slot is not asking]
        if not idle:
            return False
        oldest = min(idle, key=lambda slot: slot.last_used)
        log.info("unloading to make room", extra={"model": oldest.spec.model_id})
        return await self.unload(oldest)

    def _fits(self, asking: Slot, need: int) -> bool:
        """Whether a model of so many bytes fits beside the others in memory."""
        loaded = [slot.worker for slot in self._slots if slot.worker and slot is not asking]
        used = sum(max(worker.placement.memory_bytes, worker.memory_bytes) for worker in loaded)
        return len(loaded) < self._limits.max_loaded and used + need <= self._limits.memory_bytes
