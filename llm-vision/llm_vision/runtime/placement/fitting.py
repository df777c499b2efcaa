"""Whether a model can ever run here, judged before its weights are downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...models.base import ModelSpec, Volume
from .device import GpuProbe
from .placements import DevicePolicy, plan_placements

_GIGABYTE = 10**9


@dataclass(frozen=True)
class Need:
    """Memory that a model needs, beside what there is."""

    is_met: bool
    words: str
    """Both figures."""


@dataclass(frozen=True)
class Fitting:
    """The machine, as a model that is not here yet would find it: nobody else in its memory.

    Args:
        policies: where models run, by volume.
        gpus: the GPUs.
        memory_bytes: what models may use of the machine's memory.
    """

    policies: Mapping[Volume | None, DevicePolicy]
    gpus: GpuProbe
    memory_bytes: int

    def memory_need(self, spec: ModelSpec) -> Need:
        """What a model needs in its smallest form, judged by the size of its download."""
        weights = spec.weights
        policy = self.policies.get(weights.volume if weights else None, self.policies[None])
        empty = [replace(gpu, free_bytes=gpu.total_bytes) for gpu in self.gpus()]
        weight_bytes = weights.download_bytes if weights and spec.quantizable else 0
        placements = plan_placements(spec, policy, empty, weight_bytes)
        if not placements.best_first:
            return Need(is_met=False, words=placements.notice or "there is no device for it")
        least = min(placement.memory_bytes for placement in placements.best_first)
        words = (
            f"it needs {least / _GIGABYTE:.1f} GB of memory, and models may use {self.memory_bytes / _GIGABYTE:.1f} GB"
        )
        return Need(least <= self.memory_bytes, words)
