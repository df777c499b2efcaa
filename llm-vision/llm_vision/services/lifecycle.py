"""Whether the service takes requests: starting, ready, draining."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..admission.deadlines import Deadlines
from ..errors import VisionError
from ..runtime.decoders.decoders import Decoders
from ..runtime.downloads.downloads import Downloads
from ..runtime.pool.pool import ModelPool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LifecycleParts:
    """What has processes, and what is wrong with what they use."""

    pool: ModelPool
    decoders: Decoders
    downloads: Downloads
    complaints: Callable[[], Iterable[str]]
    """What an operator should mend, in words."""


class Lifecycle:
    """Loads what is to be preloaded at the start, and ends running requests at the stop.

    Args:
        parts: what is started and stopped.
        deadlines: those of the requests that are ended.
        preload: model ids to load at the start.
        drain_seconds: how long running requests may go on after the stop was asked for.
    """

    def __init__(
        self, parts: LifecycleParts, deadlines: Deadlines, preload: Sequence[str], drain_seconds: float
    ) -> None:
        self._pool = parts.pool
        self._decoders = parts.decoders
        self._downloads = parts.downloads
        self._complaints = parts.complaints
        self._deadlines = deadlines
        self._preload = preload
        self._drain_seconds = drain_seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._is_preloading = bool(preload)
        self.is_draining = False

    def start(self) -> None:
        """Begin to preload and to unload idle models; log what an operator should mend."""
        for complaint in self._complaints():
            log.warning(complaint)
        self._tasks = [
            asyncio.create_task(self._load_all()),
            asyncio.create_task(self._pool.expire_forever()),
            asyncio.create_task(self._decoders.warm_up()),
        ]

    def drain(self) -> None:
        """Take no more requests; what runs may finish within the time limit."""
        if not self.is_draining:
            self.is_draining = True
            self._deadlines.drain(self._drain_seconds)
            self._downloads.drain()

    def hurry(self) -> None:
        """End what still runs, now."""
        self._deadlines.drain(0)

    async def stop(self) -> None:
        """End everything."""
        self.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()
        await self._decoders.close()
        await self._downloads.close()

    @property
    def not_ready_reason(self) -> str | None:
        """Why requests should go elsewhere; None when they are welcome."""
        if self.is_draining:
            return "shutting down"
        if self._is_preloading:
            return "preloading models"
        lost = self._pool.recovering
        return f"a device failed; starting again: {', '.join(lost)}" if lost else None

    async def _load_all(self) -> None:
        missing = [model_id for model_id in self._preload if not await self._load(model_id)]
        self._is_preloading = False
        for model_id in missing:  # the service answers with what it has while their weights are being downloaded
            async for status in self._downloads.follow(self._pool.spec(model_id)):
                if status.state == "done":
                    await self._load(model_id)

    async def _load(self, model_id: str) -> bool:
        """Preload a model; whether that is over: else its weights are being downloaded."""
        try:
            await self._downloads.begin(self._pool.spec(model_id))
            if self._downloads.is_running(self._pool.spec(model_id)):
                return False
            await self._pool.load(model_id)
        except VisionError as error:
            log.error("preload failed: %s", error.detail, extra={"model": model_id})
        return True
