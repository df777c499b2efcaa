"""Whether a model's weights are there; where they are not, begins their download and says why."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ModelLoading, ModelNotReady, VisionError
from ...models.base import ModelSpec
from ...runtime.downloads.downloads import Downloads, DownloadStatus
from ...runtime.weights.failures import RETRY_LOAD
from ...runtime.weights.store import WeightStore
from .default_vlm import DefaultVlm

_RETRY_SECONDS = 10
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Defaults:
    """The models that answer when a request names none."""

    reader: str
    vlm: DefaultVlm

    async def include(self, spec: ModelSpec) -> bool:
        """Whether a model is one of them."""
        return spec.model_id in (self.reader, (await self.vlm.choose()).model_id)


class Availability:
    """What a service asks before it counts on a model.

    Args:
        weights: the volumes.
        downloads: what fills them.
        defaults: the models that anybody's request may bring.
    """

    def __init__(self, weights: WeightStore, downloads: Downloads, defaults: Defaults) -> None:
        self._weights = weights
        self._downloads = downloads
        self._defaults = defaults

    async def find_obstacle(
        self, spec: ModelSpec, *, may_download: bool = False, retry_failed: bool = False
    ) -> VisionError | None:
        """Why a model cannot be used yet, as the error to raise; None when its weights are there.

        Args:
            spec: the model.
            may_download: whether whoever asks may manage models: then the download of missing weights begins. That
                of a default model begins whoever asks.
            retry_failed: even when it has just failed.
        """
        weights = spec.weights
        if weights is None:
            return None
        try:
            if await self._weights.look(lambda: self._weights.folder(weights)) is not None:
                return None
            if self._downloads.is_running(spec):
                return await self._still_downloading(spec)
            if not may_download and not await self._defaults.include(spec):
                return ModelNotReady(
                    f"the weights of {spec.model_id} are not here, and this key may not download them: run "
                    f"`llm-vision models download {spec.model_id}`, or POST to /models/download with an admin key",
                    param="model",
                    retry_after=RETRY_LOAD,
                )
            await self._downloads.begin(spec, retry_failed=retry_failed)
        except VisionError as error:
            return error
        return await self._still_downloading(spec)

    async def _still_downloading(self, spec: ModelSpec) -> ModelLoading:
        progress = _format_progress(await self._downloads.status(spec))
        detail = f"the weights of {spec.model_id} are being downloaded ({progress})"
        return ModelLoading(detail, retry_after=_RETRY_SECONDS)

    async def require(self, spec: ModelSpec, *, may_download: bool = False, retry_failed: bool = False) -> None:
        """Refuse a request that no other model may answer; see `find_obstacle`.

        Raises:
            ModelLoading: the weights are being downloaded.
            ModelNotReady: they are missing, and this request may not bring them.
            ModelLoadFailed, ModelTooLarge, StorageFull: they are missing, and cannot or may not be downloaded.
        """
        error = await self.find_obstacle(spec, may_download=may_download, retry_failed=retry_failed)
        if error:
            raise error


def _format_progress(status: DownloadStatus | None) -> str:
    if status and status.state == "waiting":
        return "another service on the same volume does it"
    if status is None or not status.bytes_total:
        return "it has just begun"
    share = 100 * status.bytes_done // status.bytes_total
    return f"{share} %: {status.bytes_done / _MIB:.0f} of {status.bytes_total / _MIB:.0f} MiB"
