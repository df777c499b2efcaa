"""What one does with models: look at them, load, unload, download, delete them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ...admission.deadlines import Deadlines
from ...errors import ModelLoadFailed, ModelLoading, VisionError
from ...metrics import GpuGauges, ModelGauges
from ...models.base import ModelSpec, Task
from ...runtime.downloads.downloads import Downloads
from ...runtime.downloads.downloads import DownloadStatus as DownloadStatus
from ...runtime.placement.device import find_gpus
from ...runtime.pool.pool import ModelPool
from ...runtime.pool.slots import KEEP_FOR_EVER
from ...runtime.pool.slots import ModelStatus as ModelStatus
from ...runtime.weights.store import Inventory, WeightsPresence, WeightStore
from .availability import Availability
from .default_vlm import DefaultVlm
from .files import ModelFiles, read_files

_RETRY_SECONDS = 10


@dataclass(frozen=True)
class ModelReport:
    """A model with what is on its way to it."""

    status: ModelStatus
    inventory: Inventory
    misfit: str | None
    """Why a model whose weights are missing could not run here."""
    download: DownloadStatus | None
    """None when there was none since the start, or others have brought the files."""
    chosen_because: str | None
    """Why it answers when a request names no model; None when it does not."""


@dataclass(frozen=True)
class CareParts:
    """What models live in and come from."""

    pool: ModelPool
    downloads: Downloads
    weights: WeightStore
    availability: Availability
    default: DefaultVlm


class ModelCare:
    """The models as those see them who manage them.

    Args:
        parts: what models live in and come from.
        deadlines: where the time of a load counts.
        load_seconds: deadline of a load, an unload or a deletion; each waits for those before it.
    """

    def __init__(self, parts: CareParts, deadlines: Deadlines, load_seconds: float) -> None:
        self._pool = parts.pool
        self._downloads = parts.downloads
        self._weights = parts.weights
        self._availability = parts.availability
        self._default = parts.default
        self._deadlines = deadlines
        self._load_seconds = load_seconds

    def statuses(self) -> list[ModelStatus]:
        """Every model and its state, from memory alone."""
        return self._pool.status()

    async def gauges(self) -> tuple[list[ModelGauges], list[GpuGauges]]:
        """The models and the GPUs at this moment."""
        models = [
            ModelGauges(
                status.spec.model_id,
                status.state == "ready",
                status.memory_bytes,
                running=max(0, status.leases - status.queue_length),
                waiting=status.queue_length,
            )
            for status in self._pool.status()
        ]
        gpus = await asyncio.to_thread(find_gpus)
        return models, [GpuGauges(gpu.index, gpu.total_bytes - gpu.free_bytes, gpu.total_bytes) for gpu in gpus]

    def status(self, model_id: str) -> ModelStatus:
        """A model's state, from memory alone.

        Raises:
            ModelNotFound: there is no such model.
        """
        spec = self._pool.spec(model_id)
        return next(status for status in self._pool.status() if status.spec is spec)

    async def reports(self) -> list[ModelReport]:
        """Every model with its download, and the one that answers when none is named."""
        await self._default.choose()
        return [await self._report(status) for status in self._pool.status()]

    async def chat_models(self, *, everything: bool) -> list[ModelStatus]:
        """The models that chat and whose weights are there; everything: also the others, and those that only read."""
        if everything:
            return [status for status in self._pool.status() if status.spec.tasks & {Task.CHAT, Task.OCR}]
        able = [status for status in self._pool.status() if Task.CHAT in status.spec.tasks]
        try:
            there = await self._weights.look(
                lambda: {
                    one.spec.model_id for one in able if self._take_stock(one.spec).presence is WeightsPresence.PRESENT
                }
            )
        except ModelLoadFailed:  # the volume does not answer
            there = {one.spec.model_id for one in able if one.spec.weights is None or one.state == "ready"}
        return [status for status in able if status.spec.model_id in there]

    async def files(self, model_id: str) -> ModelFiles:
        """What a model's files say.

        Raises:
            ModelNotFound: there is no such model.
        """
        spec = self._pool.spec(model_id)
        return await self._weights.look(lambda: read_files(spec, self._weights))

    async def load(self, model_id: str, keep_alive: float | None = None) -> ModelReport:
        """Load a model now; where its weights are missing, their download begins instead.

        Args:
            model_id: the model.
            keep_alive: seconds that it stays when it is idle; -1 for ever, None as it is set.

        Raises:
            ModelNotFound, ModelLoading, ModelLoadFailed, InsufficientMemory, StorageFull: as their names say.
        """
        spec = self._pool.spec(model_id)
        await self._availability.require(spec, may_download=True, retry_failed=True)
        async with self._deadlines.within(self._load_seconds, model_not_ready):
            await self._pool.load(model_id, keep_alive)
        return await self._report(self.status(spec.model_id))

    async def unload(self, model_id: str) -> bool:
        """Unload a model; False when it was not in memory.

        Raises:
            ModelNotFound, ModelInUse, ModelLoading: as their names say.
        """
        async with self._deadlines.within(self._load_seconds, model_not_ready):
            return await self._pool.unload(model_id)

    async def begin_download(self, model_id: str) -> None:
        """Begin the download of a model's weights, even when it has just failed, unless they are there.

        Raises:
            ModelNotFound, ModelLoadFailed, StorageFull, ShuttingDown: as their names say.
        """
        await self._downloads.begin(self._pool.spec(model_id), retry_failed=True)

    def follow_download(self, model_id: str) -> AsyncIterator[DownloadStatus]:
        """How far a download is, whenever that changes, until it is over; it goes on when nobody follows.

        Raises:
            ModelNotFound: there is no such model.
        """
        return self._downloads.follow(self._pool.spec(model_id))

    async def download(self, model_id: str) -> None:
        """Wait for a download.

        Raises:
            VisionError: it has failed.
        """
        async for status in self.follow_download(model_id):
            if error := status.error:
                raise type(error)(error.detail, retry_after=error.retry_after)  # others may raise the same one, too

    async def delete(self, model_id: str) -> None:
        """Delete weights that this service has downloaded; a model in memory is unloaded first.

        Raises:
            ModelNotFound, ModelInUse, ModelLoading, WeightsNotDownloaded: as their names say.
        """
        spec = self._pool.spec(model_id)
        await self._downloads.require_ours(spec)
        async with self._deadlines.within(self._load_seconds, model_not_ready):
            await self._pool.unload(model_id)
            await self._downloads.delete(spec)

    def remaining_seconds(self, status: ModelStatus) -> float | None:
        """How long a model will be in memory; one in use begins to count when it is not. None is for ever."""
        if status.expires_in is not None:
            return status.expires_in
        keep_alive = self._pool.keep_alive(status.spec.model_id)
        return None if keep_alive == KEEP_FOR_EVER else keep_alive

    async def _report(self, status: ModelStatus) -> ModelReport:
        default = self._default.current
        inventory, misfit = await self._weights.look(lambda: self._examine(status.spec))
        return ModelReport(
            status=status,
            inventory=inventory,
            misfit=misfit,
            download=await self._downloads.status(status.spec),
            chosen_because=default.why if default and default.model_id == status.spec.model_id else None,
        )

    def _examine(self, spec: ModelSpec) -> tuple[Inventory, str | None]:
        inventory = self._take_stock(spec)
        is_there = inventory.presence is WeightsPresence.PRESENT
        return inventory, None if is_there else self._downloads.misfit(spec)

    def _take_stock(self, spec: ModelSpec) -> Inventory:
        if spec.weights is None:
            return Inventory(
                WeightsPresence.PRESENT, sum(file.stat().st_size for file in spec.weight_files() if file.is_file())
            )
        return self._weights.inventory(spec.weights)


def model_not_ready() -> VisionError:
    """The answer while other models are being loaded, one after the other."""
    return ModelLoading("models are being loaded", retry_after=_RETRY_SECONDS)
