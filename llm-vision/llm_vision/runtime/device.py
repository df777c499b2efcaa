"""Which device a model runs on and how much memory and how many cores there are, without torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import psutil

Preference = Literal["auto", "cpu", "cuda"]

_CGROUP = Path("/sys/fs/cgroup")
_MEMORY_SHARE = 0.8  # of the limit; the rest is for the gateway, decoded pictures and the system


def choose_device(preference: Preference, usable: frozenset[str], gpu_folder: Path = Path("/dev")) -> str:
    """The torch device name for a model that can use the `usable` kinds (`cpu`, `cuda`).

    A GPU is seen by its device file; whether CUDA really works is found out in the worker process.
    Without one, every model runs on the CPU.
    """
    has_gpu = any(gpu_folder.glob("nvidia[0-9]*"))
    return "cuda:0" if "cuda" in usable and preference != "cpu" and has_gpu else "cpu"


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
