"""How much memory and how many cores there are, and which GPUs, without torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pynvml

_CGROUP = Path("/sys/fs/cgroup")
_MEMORY_SHARE = 0.8  # of the limit; the rest is for the gateway, decoded pictures and the system


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU; memory in bytes."""

    index: int
    free_bytes: int
    total_bytes: int


GpuProbe = Callable[[], Sequence[Gpu]]


def find_gpus() -> Sequence[Gpu]:
    """The GPUs that NVIDIA's management library tells of; whether CUDA works on them is found out by loading.

    No driver is no GPU.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return ()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def missing_gpu(asked: str) -> str | None:
    """What to do where a GPU is asked for (`cuda`, `cuda:1`) and none can be seen; None where there is one."""
    index = asked.partition(":")[2]
    if not asked.startswith("cuda") or any(index in ("", str(gpu.index)) for gpu in find_gpus()):
        return None
    return (
        f"no such NVIDIA GPU is visible, although {asked} is requested: install its driver and check with nvidia-smi; "
        "in a container, start with docker-compose.gpu.yml and install the NVIDIA Container Toolkit"
    )


def _gpu(index: int) -> Gpu:
    memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index))
    return Gpu(index, int(memory.free), int(memory.total))


def cpu_cores(cgroup: Path = _CGROUP) -> int:
    """Whole cores that this container or machine may use, at least 1."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_words(cgroup / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        available = min(available, int(quota[0]) // int(quota[1]))
    return max(1, available)


def memory_limit_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory that models together may use: a share of what the container or machine has."""
    total = int(psutil.virtual_memory().total)
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup 2, cgroup 1
        words = _read_words(cgroup / name)
        if words and words[0].isdigit():
            total = min(total, int(words[0]))
    return int(total * _MEMORY_SHARE)


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
