"""The panels of a comic page, found by the free strips between them. Imported in worker processes only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .runs import runs

Rgb = NDArray[np.uint8]
Grey = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

SIDE = 700
"""Shorter side, in pixels, at which a page is looked at: gutters of 9 px on a scan of 1400 by 2000 stay visible."""
DIFFERENT = 48
"""Grey levels by which something drawn differs from the paper; scans and JPEG files move the paper by less."""
CROSSED = 0.03
"""Share of a gutter's length that something drawn may cross: the outline of a bubble, never a picture."""
ENDS = 0.02
"""Share of a strip's length at both of its ends that is free in a gutter; inside a panel the frames are there."""
LEAST_GUTTER = 0.006
"""Thickness of a gutter, of the page's shorter side: 6 px of 1000."""
LEAST_PANEL = 0.1
"""Shortest side of a panel, of the page's shorter side: smaller pieces are parts of a picture."""
FACING = 1.15
"""Width to height from which on a picture is two facing pages, when a free strip divides it in the middle."""
MIDDLE = 0.06
"""How far from the middle, of the width, the strip between facing pages may be."""
_LUMA = np.array([77, 150, 29])  # of 256: ITU-R BT.601


@dataclass(frozen=True)
class _Page:
    is_drawn: NDArray[np.bool_]
    least_gutter: int
    least_panel: int


def find_panels(rgb: Rgb, *, right_to_left: bool) -> list[Box]:
    """Panels in reading order; a page whose panels cannot be told is one panel.

    Facing pages are cut first, then rows, then the panels of a row, as often as there is something to cut
    (recursive XY-cut: Nagy and Seth, 1984).

    Args:
        rgb: shape (height, width, 3).
        right_to_left: whether the right one of two neighbours is read first.
    """
    height, width = rgb.shape[:2]
    step = max(1, -(-min(height, width) // SIDE))
    small = (rgb[::step, ::step] @ _LUMA / 256).astype(np.uint8)
    side = min(small.shape)
    page = _Page(_is_drawn(small), max(2, round(LEAST_GUTTER * side)), round(LEAST_PANEL * side))
    whole = (0, 0, small.shape[1], small.shape[0])
    panels = [
        panel
        for part in _facing_pages(page, whole, right_to_left)
        for panel in _cut(page, part, right_to_left=right_to_left, by_rows=True)
    ]
    return [
        (left * step, top * step, min(width, right * step), min(height, bottom * step))
        for left, top, right, bottom in panels
    ]


def _is_drawn(grey: Grey) -> NDArray[np.bool_]:
    """Where a page is not as its edge is: white paper, or black."""
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return np.abs(grey.astype(np.int16) - int(np.median(edge))) > DIFFERENT


def _facing_pages(page: _Page, box: Box, right_to_left: bool) -> list[Box]:
    width, height = box[2] - box[0], box[3] - box[1]
    if width < FACING * height:
        return [box]
    profile = page.is_drawn.mean(axis=0) <= CROSSED
    for start, end in runs(profile):
        middle = (start + end) / 2
        if end - start >= page.least_gutter and abs(middle / width - 0.5) <= MIDDLE:
            left, right = (box[0], box[1], start, box[3]), (end, box[1], box[2], box[3])
            return [right, left] if right_to_left else [left, right]
    return [box]


def _cut(page: _Page, box: Box, *, right_to_left: bool, by_rows: bool, is_second: bool = False) -> Iterator[Box]:
    """The panels in a box; `is_second` when the other direction has just given nothing."""
    box = _trim(page, box)
    if min(box[2] - box[0], box[3] - box[1]) <= 0:
        return
    parts = list(_parts(page, box, by_rows=by_rows))
    if len(parts) < 2:
        if is_second:
            yield box
        else:
            yield from _cut(page, box, right_to_left=right_to_left, by_rows=not by_rows, is_second=True)
        return
    for part in parts if by_rows or not right_to_left else reversed(parts):
        yield from _cut(page, part, right_to_left=right_to_left, by_rows=not by_rows)


def _trim(page: _Page, box: Box) -> Box:
    """A box without the free paper at its sides."""
    drawn = page.is_drawn[box[1] : box[3], box[0] : box[2]]
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        return (box[0], box[1], box[0], box[1])
    return (
        box[0] + int(columns[0]),
        box[1] + int(rows[0]),
        box[0] + int(columns[-1]) + 1,
        box[1] + int(rows[-1]) + 1,
    )


def _parts(page: _Page, box: Box, *, by_rows: bool) -> Iterator[Box]:
    """What lies between the gutters that run through a box from one side to the other."""
    drawn = page.is_drawn[box[1] : box[3], box[0] : box[2]]
    drawn = drawn if by_rows else drawn.T
    ends = max(1, round(ENDS * drawn.shape[1]))
    is_free = (drawn.mean(axis=1) <= CROSSED) & ~drawn[:, :ends].any(axis=1) & ~drawn[:, -ends:].any(axis=1)
    cuts = [0]
    for low, high in runs(is_free):
        is_thick = high - low >= page.least_gutter
        if is_thick and low - cuts[-1] >= page.least_panel <= len(is_free) - high:
            cuts += [low, high]
    cuts.append(len(is_free))
    for low, high in zip(cuts[::2], cuts[1::2], strict=True):
        if by_rows:
            yield (box[0], box[1] + low, box[2], box[1] + high)
        else:
            yield (box[0] + low, box[1], box[0] + high, box[3])
