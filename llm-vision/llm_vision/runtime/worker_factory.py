"""Makes the worker of a model: on which device, with which files and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import VisionError
from ..models.base import ModelSpec
from ..models.registry import CatalogEntry
from .device import Preference, choose_device
from .shared import Shared
from .weights import WeightStore
from .worker import Worker
from .worker_limits import WorkerLimits
from .worker_process import Launch


@dataclass(frozen=True)
class WorkerFactory:
    """What the workers of all models have in common."""

    device: Preference
    threads: int
    limits: WorkerLimits
    """For a model that takes one request at a time; each model has its own `max_batch`."""
    shared: Shared
    weights: WeightStore
    environment: Mapping[str, str]
    may_download: bool = False
    """Whether a damaged file may be removed, because it can be downloaded again."""

    def make(
        self, entry: CatalogEntry, arriving: Callable[[], int], on_failed: Callable[[VisionError], None]
    ) -> Worker:
        """The worker of a model, not started yet; see `Worker` for the arguments.

        Raises:
            ModelLoadFailed: its weights are not there.
        """
        folder = self.weights.required(entry.spec)
        launch = Launch(
            model_id=entry.spec.model_id,
            class_path=entry.class_path,
            device=choose_device(self.device, entry.spec.devices),
            threads=self.threads,
            weights_root=folder,
            may_repair=self.may_download and self._is_ours(entry.spec, folder),
            environment=self.environment,
            options=entry.options,
        )
        limits = replace(self.limits, max_batch=entry.spec.max_batch)
        return Worker(launch, limits, self.shared, arriving, on_failed)

    def _is_ours(self, spec: ModelSpec, folder: Path | None) -> bool:
        """Whether a folder is where downloads go."""
        return spec.weights is not None and self.weights.place(spec.weights).home == folder

    def files(self, spec: ModelSpec) -> Iterable[Path]:
        """What a model loads."""
        return self.weights.files(spec)
