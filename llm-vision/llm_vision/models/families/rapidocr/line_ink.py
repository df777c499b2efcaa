"""What is drawn inside the box of a line: furigana that the detector took for a part of it, and where the ink ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .polygons import Polygon
from .runs import runs

Grey = NDArray[np.uint8]
Span = tuple[float, float]
"""Beginning and end, in shares of a length."""

DIFFERENT = 70
"""Grey levels between ink and paper; screentone and JPEG noise stay below it."""
FREE = 0.012
"""Share of a strip's length that may be inked where nothing is written: specks of a scan."""
LEAST_LENGTH = 1.8
"""Length of a column, of its characters' size, from which on furigana are looked for: a single character may consist
of two parts itself."""
RUBY = (0.2, 0.72)
"""Width of a strip of furigana, of the characters beside it: half their size, less what is free in a character."""
LEAST_BASE = 0.5
"""Share of a box across the line that the characters themselves take."""


def ink_spans(line: Grey) -> tuple[Span, Span] | None:
    """Where something is drawn in a line, from left to right and from top to bottom; None when nothing can be told.

    Args:
        line: a line's upright rectangle, shape (height, width).
    """
    is_inked = _is_inked(line)
    across, down = is_inked.mean(axis=0) > FREE, is_inked.mean(axis=1) > FREE
    if not across.any() or not down.any():
        return None
    return _span(across), _span(down)


def ruby_strip(line: Grey, *, vertical: bool) -> float | None:
    """The place, in shares of a box across the line, that divides a line's characters from its furigana.

    Furigana stand to the right of a column and above a row.
    """
    is_inked = _is_inked(line if vertical else np.rot90(line, -1))  # a row's upper side comes to the right
    height, width = is_inked.shape
    profile = is_inked.mean(axis=0) > FREE
    if not profile.any():
        return None
    first, last = np.flatnonzero(profile)[[0, -1]]
    gaps = [(low, high) for low, high in runs(~profile[first : last + 1])]
    for low, high in reversed(gaps):
        base, ruby = low, last + 1 - first - high
        is_long = height >= LEAST_LENGTH * base
        if is_long and base >= LEAST_BASE * width and RUBY[0] * base <= ruby <= RUBY[1] * base:
            place = (first + (low + high) / 2) / width
            return float(place if vertical else 1 - place)
    return None


def cut(polygon: Polygon, place: float, *, vertical: bool) -> tuple[Polygon, Polygon]:
    """A line's polygon in two along its direction: the left and the right part, or the upper and the lower one."""
    top_left, top_right, bottom_right, bottom_left = polygon
    if vertical:
        top, bottom = top_left + place * (top_right - top_left), bottom_left + place * (bottom_right - bottom_left)
        return np.stack([top_left, top, bottom, bottom_left]), np.stack([top, top_right, bottom_right, bottom])
    left, right = top_left + place * (bottom_left - top_left), top_right + place * (bottom_right - top_right)
    return np.stack([top_left, top_right, right, left]), np.stack([left, right, bottom_right, bottom_left])


def _is_inked(grey: Grey) -> NDArray[np.bool_]:
    return np.abs(grey.astype(np.int16) - int(np.median(grey))) > DIFFERENT


def _span(flags: NDArray[np.bool_]) -> Span:
    first, last = np.flatnonzero(flags)[[0, -1]]
    return float(first / len(flags)), float((last + 1) / len(flags))
