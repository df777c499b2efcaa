"""How a benchmark tells its result: a table for people, and one JSON object as the last line."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

import psutil

ROUNDS = 5  # a result is the median of at least so many


@dataclass(frozen=True)
class Result:
    """One figure, beside a named peer's, and whether it is what was promised."""

    name: str
    value: float
    unit: str
    peer: str
    ratio: float | None
    target: str
    met: bool


def hardware() -> str:
    """What this was measured on, in one line."""
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
    print(f"\non {hardware()}")
    for row in texts:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for result in results:
        print(json.dumps(asdict(result)))
    return 0 if all(result.met for result in results) else 1
