"""Whether a model's weights are there; where they are not, begins their download and says why."""

from __future__ import annotations

from ...errors import ModelLoading, VisionError
from ...models.base import ModelSpec
from ...runtime.downloads.downloads import Downloads, DownloadStatus
from ...runtime.weights.store import WeightStore

_RETRY_SECONDS = 10
_MIB = 1024 * 1024


class Availability:
    """What a service asks before it counts on a model.

    Args:
        weights: the volumes.
        downloads: what fills them.
    """

    def __init__(self, weights: WeightStore, downloads: Downloads) -> None:
        self._weights = weights
        self._downloads = downloads

    async def find_obstacle(self, spec: ModelSpec, *, retry_failed: bool = False) -> VisionError | None:
        """Why a model cannot be used yet, as the error to raise; None when its weights are there.

        The download of missing ones begins, where that is allowed; `retry_failed`: even when it has just failed.
        """
        weights = spec.weights
        if weights is None:
            return None
        try:
            if await self._weights.look(lambda: self._weights.folder(weights)) is not None:
                return None
            await self._downloads.begin(spec, retry_failed=retry_failed)
        except VisionError as error:
            return error
        progress = _format_progress(await self._downloads.status(spec))
        detail = f"the weights of {spec.model_id} are being downloaded ({progress})"
        return ModelLoading(detail, retry_after=_RETRY_SECONDS)

    async def require(self, spec: ModelSpec, *, retry_failed: bool = False) -> None:
        """Refuse a request that no other model may answer; see `find_obstacle`.

        Raises:
            ModelLoading: the weights are being downloaded.
            ModelLoadFailed, StorageFull: they are missing, and cannot or may not be downloaded.
        """
        error = await self.find_obstacle(spec, retry_failed=retry_failed)
        if error:
            raise error


def _format_progress(status: DownloadStatus | None) -> str:
    if status and status.state == "waiting":
        return "another service on the same volume does it"
    if status is None or not status.bytes_total:
        return "it has just begun"
    share = 100 * status.bytes_done // status.bytes_total
    return f"{share} %: {status.bytes_done / _MIB:.0f} of {status.bytes_total / _MIB:.0f} MiB"
