"""A promise's figure: what was asked, and what was reached."""

from __future__ import annotations

from dataclasses import dataclass


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


def exactly(promise: int, what: str, value: object, wanted: object) -> Figure:
    return Figure(promise, what, str(wanted), str(value), value == wanted)
