"""Which vision-language model answers when a request names none: the one that is set, or the one that fits here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ...models.base import ModelSpec
from ...runtime.placement.device import GpuProbe
from ...runtime.placement.placements import SMALLEST_SHARE
from ...runtime.weights.store import WeightStore

log = logging.getLogger(__name__)

_GIGABYTE = 10**9


@dataclass(frozen=True)
class Chosen:
    """A model, and why it is the one."""

    model_id: str
    why: str


@dataclass(frozen=True)
class Candidate:
    """A model that is taken when a GPU has so much memory (bytes); 0 for machines without one."""

    model_id: str
    least_gpu_bytes: int


@dataclass(frozen=True)
class Hardware:
    """What there is to run a model on; memory in bytes."""

    gpus: GpuProbe
    memory_bytes: int
    """What models may use of the machine's memory."""
    may_use_cpu: bool

    def gpu_bytes(self) -> int:
        """Memory of the largest GPU; 0 without one."""
        return max((gpu.total_bytes for gpu in self.gpus()), default=0)


class DefaultVlm:
    """The choice, made anew when weights come onto or leave the volume.

    Args:
        model_id: what the operator has set; None to choose.
        specs: the vision-language models with weights on a volume.
        candidates: what to take when no weights are there, those for the largest GPUs first.
        hardware: what there is to run it on.
        weights: which weights are there.
    """

    def __init__(
        self,
        model_id: str | None,
        specs: Sequence[ModelSpec],
        candidates: Sequence[Candidate],
        hardware: Hardware,
        weights: WeightStore,
    ) -> None:
        self._fixed = Chosen(model_id, "LLAVA_MODEL_ID names it") if model_id else None
        self._specs = specs
        self._candidates = candidates
        self._hardware = hardware
        self._weights = weights
        self._seen: frozenset[str] | None = None
        self.current = self._fixed
        """The last choice; None before the first."""

    async def choose(self) -> Chosen:
        """The model that answers now."""
        if self._fixed:
            return self._fixed
        there = await self._weights.look(self._measure_weights)
        if self.current is None or self._seen != there.keys():
            self._seen = frozenset(there)
            self.current = await asyncio.to_thread(self._decide, there)
            log.info("LLAVA_MODEL_ID=auto is %s: %s", self.current.model_id, self.current.why)
        return self.current

    def _measure_weights(self) -> dict[str, int]:
        """Of the weights on the volume, by model."""
        sizes = {spec.model_id: self._weights.size_bytes(spec.weights) for spec in self._specs if spec.weights}
        return {model_id: size for model_id, size in sizes.items() if size}

    def _decide(self, there: dict[str, int]) -> Chosen:
        """The largest one whose weights are there and fit, else what suits the hardware."""
        gpu_bytes = self._hardware.gpu_bytes()
        for model_id, size in sorted(there.items(), key=lambda entry: -entry[1]):
            if self._fits(int(size * SMALLEST_SHARE), gpu_bytes):
                return Chosen(model_id, "its weights are on the volume")
        suited = next(candidate for candidate in self._candidates if candidate.least_gpu_bytes <= gpu_bytes)
        gpu = f"the GPU has {gpu_bytes / _GIGABYTE:.0f} GB" if gpu_bytes else "there is no GPU"
        return Chosen(suited.model_id, f"{gpu}, and no weights that fit are on the volume")

    def _fits(self, need: int, gpu_bytes: int) -> bool:
        return need <= gpu_bytes or (self._hardware.may_use_cpu and need <= self._hardware.memory_bytes)
