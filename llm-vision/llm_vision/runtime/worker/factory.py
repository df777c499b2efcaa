"""Makes the worker of a model: in which placements it may run, with which files and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...models.base import ModelSpec, Volume
from ...models.registry import CatalogEntry
from ..placement.device import GpuProbe
from ..placement.placements import DevicePolicy, Placements, plan_placements
from ..weights.store import LocatedWeights, WeightStore
from .limits import WorkerLimits
from .owner import Owner
from .process import Launch
from .shared import CoreShare, Shared
from .worker import Worker


@dataclass(frozen=True)
class WorkerFactory:
    """What the workers of all models have in common."""

    policies: Mapping[Volume | None, DevicePolicy]
    """By where a model's weights come from; those of None are for all others."""
    gpus: GpuProbe
    threads: int
    limits: WorkerLimits
    """For a model that takes one request at a time; each model has its own `max_batch`."""
    shared: Shared
    weights: WeightStore
    environment: Mapping[str, str]
    may_download: bool = False
    """Whether a damaged file may be removed, because it can be downloaded again."""

    async def locate(self, spec: ModelSpec) -> LocatedWeights:
        """Look for a model's weights on its volume, which may be slow or hang.

        Raises:
            ModelLoadFailed: they are not there.
        """
        return await self.weights.look(lambda: self.weights.locate(spec))

    async def placements(self, spec: ModelSpec, weights: LocatedWeights) -> Placements:
        """In which placements a model can run now."""
        volume = spec.weights.volume if spec.weights else None
        policy = self.policies.get(volume, self.policies[None])
        needs_gpu = "cuda" in spec.devices and policy.device != "cpu"
        gpus = await asyncio.to_thread(self.gpus) if needs_gpu else ()
        return plan_placements(spec, policy, gpus, weights.size_bytes)

    def make(self, entry: CatalogEntry, weights: LocatedWeights, placements: Placements, owner: Owner) -> Worker:
        """The worker of a model, not started yet."""
        launch = Launch(
            model_id=entry.spec.model_id,
            class_path=entry.class_path,
            threads=self.threads,
            weights_root=weights.folder,
            may_repair=self.may_download and self._is_ours(entry.spec, weights.folder),
            environment={**self.environment, **entry.environment},
            options=entry.options,
        )
        limits = replace(
            self.limits,
            max_batch=entry.spec.max_batch,
            places_for_others=entry.spec.places_for_others,
            is_stepped=entry.spec.is_stepped,
            abandoned_grace=max(self.limits.abandoned_grace, entry.spec.longest_step),
        )
        shared = self.shared if entry.spec.computes else replace(self.shared, cores=CoreShare(1))
        return Worker(launch, placements, limits, shared, owner)

    def _is_ours(self, spec: ModelSpec, folder: Path | None) -> bool:
        """Whether a folder is where downloads go."""
        return spec.weights is not None and self.weights.place(spec.weights).home == folder

    def files(self, spec: ModelSpec) -> Iterable[Path]:
        """What a model loads."""
        return self.weights.files(spec)
