"""Where a model can run, best first: on which device, with how many bits; and what each placement needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...models.base import ModelSpec, Quantization
from .device import Gpu

QuantizationSetting = Literal["auto", "none", "8bit", "4bit"]
_GIGABYTE = 10**9
_GPU_WORKING_BYTES = 1 * _GIGABYTE
"""On the GPU beside the weights: CUDA's own, activations, the tokens of a few requests."""
_GPU_HOST_BYTES = 2 * _GIGABYTE
"""In the process of a model that runs on a GPU: CUDA's libraries, and a shard of the weights while it loads."""
_SHARE = {Quantization.NONE: 1.0, Quantization.EIGHT: 0.6, Quantization.FOUR: 0.4}
"""Size of the weights by their bits, of the 16-bit size; with what is not quantised (vision, embeddings)."""
_LIMIT_OF_WEIGHTS = 3
"""Times their forecast: in 32 bits they are twice as large, and beside them lies what they are read from."""
_LIMIT_OF_REST = 2
_LIMIT_BYTES = 1 * _GIGABYTE
"""For every process on top: what libraries take and do not use counts too."""
SMALLEST_SHARE = min(_SHARE.values())
_LARGE_BYTES = 4 * _GIGABYTE
"""Weights from which on `auto` takes 4 bits on a CPU: below it, they are fast enough as they are."""
_DEVICE = re.compile(r"cpu|cuda(?::(\d+))?")


@dataclass(frozen=True)
class Placement:
    """A device and a quantization for a model; sizes in bytes."""

    device: str
    """A torch device name."""
    quantization: Quantization = Quantization.NONE
    memory_bytes: int = 0
    """Resident memory of its process."""
    gpu_bytes: int = 0
    limit_bytes: int | None = None
    """What its process may take at most; None on a GPU, whose driver takes what it needs."""

    @property
    def words(self) -> str:
        """For people."""
        where = "on the CPU" if self.device == "cpu" else f"on {self.device}"
        bits = {Quantization.NONE: "", Quantization.EIGHT: " in 8 bits", Quantization.FOUR: " in 4 bits"}
        return where + bits[self.quantization]


@dataclass(frozen=True)
class Placements:
    """The placements that are worth a try, best first, and why a better one is not among them."""

    best_first: tuple[Placement, ...]
    notice: str | None = None

    def within(self, memory_bytes: int) -> Placements:
        """Only the placements that need no more memory than that."""
        fitting = tuple(placement for placement in self.best_first if placement.memory_bytes <= memory_bytes)
        return (
            self
            if fitting == self.best_first
            else Placements(fitting, self.notice or _too_large(self.best_first, fitting))
        )

    def reason_against(self, memory_bytes: int) -> str:
        """Why nothing fits into so much memory."""
        if not self.best_first:
            return self.notice or "there is no device for it"
        least = min(placement.memory_bytes for placement in self.best_first)
        return f"it needs {least >> 20} MiB; models may use {memory_bytes >> 20} MiB"


def _too_large(placements: Sequence[Placement], fitting: Sequence[Placement]) -> str | None:
    if not fitting or fitting[0] == placements[0]:
        return None
    need = placements[0].memory_bytes / _GIGABYTE
    return f"{need:.1f} GB of memory are needed {placements[0].words}, so the model runs {fitting[0].words}"


@dataclass(frozen=True)
class DevicePolicy:
    """What the operator wants."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    quantization: QuantizationSetting = "auto"
    cpu_fallback: bool = True
    """Whether a model that cannot run on its GPU may run on the CPU."""


def plan_placements(spec: ModelSpec, policy: DevicePolicy, gpus: Sequence[Gpu], weight_bytes: int) -> Placements:
    """The placements for a model.

    Args:
        spec: which devices and how many bits it can use, and what it needs where its size is known beforehand.
        policy: what the operator wants.
        gpus: those that there are.
        weight_bytes: size of its weights with 16 bits; 0 where they cannot be quantised.
    """
    on_gpu, notice = _gpu_placements(spec, policy, gpus, weight_bytes)
    if on_gpu and not policy.cpu_fallback:
        return Placements(on_gpu, notice)
    if notice and not policy.cpu_fallback and policy.device.startswith("cuda"):
        return Placements((), notice)
    on_cpu = tuple(
        Placement("cpu", bits, _cpu_bytes(spec, bits, weight_bytes), limit_bytes=_cpu_limit(spec, bits, weight_bytes))
        for bits in _cpu_bits(spec, policy, weight_bytes)
    )
    return Placements((*on_gpu, *on_cpu), notice)


def _gpu_placements(
    spec: ModelSpec, policy: DevicePolicy, gpus: Sequence[Gpu], weight_bytes: int
) -> tuple[tuple[Placement, ...], str | None]:
    """Those for which the GPU has memory; and what is in the way of others."""
    if "cuda" not in spec.devices or policy.device == "cpu":
        return (), None
    gpu = _chosen(gpus, policy.device)
    if gpu is None:
        return (), "the requested GPU was not found" if policy.device.startswith("cuda") else None
    name = f"cuda:{gpu.index}"
    placements = [
        Placement(name, bits, min(spec.memory_bytes, _GPU_HOST_BYTES), _gpu_bytes(spec, bits, weight_bytes))
        for bits in _gpu_bits(spec, policy)
    ]
    fitting = tuple(placement for placement in placements if placement.gpu_bytes <= gpu.free_bytes)
    if len(fitting) == len(placements):
        return fitting, None
    need, free = placements[0].gpu_bytes / _GIGABYTE, gpu.free_bytes / _GIGABYTE
    return fitting, f"{name} has {free:.1f} GB of free memory, {need:.1f} are needed {placements[0].words}"


def _chosen(gpus: Sequence[Gpu], device: str) -> Gpu | None:
    """The GPU that is named, else the one with most free memory."""
    match = _DEVICE.fullmatch(device)
    if match and match[1] is not None:
        return next((gpu for gpu in gpus if gpu.index == int(match[1])), None)
    return max(gpus, key=lambda gpu: gpu.free_bytes, default=None)


def _gpu_bits(spec: ModelSpec, policy: DevicePolicy) -> tuple[Quantization, ...]:
    if "cuda" not in spec.quantizable:
        return (Quantization.NONE,)
    if policy.quantization == "auto":
        return (Quantization.NONE, Quantization.FOUR)
    return (Quantization(policy.quantization),)


def _cpu_bits(spec: ModelSpec, policy: DevicePolicy, weight_bytes: int) -> tuple[Quantization, ...]:
    """8 bits have no fast way on a CPU: 16 are taken, or 4 where that is too large."""
    if "cpu" not in spec.quantizable or not weight_bytes or policy.quantization == "none":
        return (Quantization.NONE,)
    if policy.quantization == "4bit" or (policy.quantization == "auto" and weight_bytes >= _LARGE_BYTES):
        return (Quantization.FOUR,)
    return (Quantization.NONE, Quantization.FOUR)


def _gpu_bytes(spec: ModelSpec, bits: Quantization, weight_bytes: int) -> int:
    return int((weight_bytes or spec.memory_bytes) * _SHARE[bits]) + _GPU_WORKING_BYTES


def _cpu_bytes(spec: ModelSpec, bits: Quantization, weight_bytes: int) -> int:
    if not weight_bytes:
        return spec.memory_bytes
    return int(weight_bytes * _SHARE[bits]) + spec.working_bytes


def _cpu_limit(spec: ModelSpec, bits: Quantization, weight_bytes: int) -> int:
    """What a process on the CPU may take at most."""
    weights = int(weight_bytes * _SHARE[bits])
    rest = _cpu_bytes(spec, bits, weight_bytes) - weights
    return _LIMIT_OF_WEIGHTS * weights + _LIMIT_OF_REST * rest + _LIMIT_BYTES
