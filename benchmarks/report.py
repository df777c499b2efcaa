"""Prints the results of a benchmark: a table, then one JSON object per result."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

import psutil

ROUNDS = 5  # minimum number of values for a median


@dataclass(frozen=True)
class Result:
    """One figure, its ratio to a named peer's, and whether it meets the target."""

    name: str
    value: float
    unit: str
    peer: str
    ratio: float | None
    target: str
    met: bool


def hardware() -> str:
    """The processor, cores and memory of this machine, in one line."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    memory = psutil.virtual_memory().total / 2**30
    return f"{models[0] if models else platform.processor()}, {psutil.cpu_count()} cores, {memory:.0f} GiB"


def middle(values: Sequence[float]) -> float:
    """The median of at least `ROUNDS` values."""
    assert len(values) >= ROUNDS
    return median(values)


def report(rows: Sequence[Sequence[object]], *results: Result) -> int:
    """Print the table and the results; 1 when a target is missed, else 0."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    print(f"\nmeasured on {hardware()}")
    for row in texts:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for result in results:
        print(json.dumps(asdict(result)))
    return 0 if all(result.met for result in results) else 1
