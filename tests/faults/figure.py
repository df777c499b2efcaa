"""A promise's figure: what was asked, and what was reached; and the server that it is taken from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fixtures.live import LiveServer

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    promise: int
    what: str
    asked: str
    reached: str
    met: bool


def at_most(promise: int, what: str, value: float, limit: float, unit: str, digits: int = 2) -> Figure:
    return Figure(promise, what, f"<= {limit:g} {unit}", f"{value:.{digits}f} {unit}", value <= limit)


def at_least(promise: int, what: str, value: int, limit: int) -> Figure:
    return Figure(promise, what, f">= {limit}", str(value), value >= limit)


def exactly(promise: int, what: str, value: object, wanted: object) -> Figure:
    return Figure(promise, what, str(wanted), str(value), value == wanted)


def all_of(promise: int, what: str, good: int, tried: int, least: int) -> Figure:
    """Every one of those that were tried, and enough of them."""
    return Figure(promise, what, f"all, >= {least}", f"{good} of {tried}", good == tried >= least)


@contextmanager
def server(environment: Mapping[str, str] | None = None) -> Iterator[LiveServer]:
    """A live server with settings of its own, stopped afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        started = LiveServer(Path(folder), environment)
        try:
            yield started
        finally:
            started.stop()
