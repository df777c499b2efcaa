"""The order in which lines are read: Japanese columns from the right, rows from the top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from .lines import TextLine

BAND_GAP = 0.8
"""Free height between two groups of columns, in sizes of a character, that makes them two groups, read one after
the other: more than the space inside a column, less than that between two bubbles."""
STRIP_GAP = 2.0
"""Free width between groups, in sizes of a character, that cuts a page into parts: more than between two lines."""
SAME_LINE = 0.5
"""Two pieces whose middles are closer than this share of their size lie on one line."""


def reading_order(lines: Sequence[TextLine], *, right_to_left: bool = True) -> list[TextLine]:
    """Lines in the order in which a reader takes them.

    Free bands across the picture are cut first, then free strips; what cannot be cut is a block, whose
    lines run one after the other.

    Args:
        lines: of one picture, in any order.
        right_to_left: whether parts that stand side by side are read from the right.
    """
    if len(lines) < 2:
        return list(lines)
    size = median(line.size for line in lines)
    for gap, low, high, reverse in (
        (BAND_GAP * size, _top, _bottom, False),
        (STRIP_GAP * size, _left, _right, right_to_left),
    ):
        parts = _cut(lines, gap, low, high)
        if len(parts) > 1:
            ordered = reversed(parts) if reverse else parts
            return [line for part in ordered for line in reading_order(part, right_to_left=right_to_left)]
    return _block_order(lines)


def _cut(
    lines: Sequence[TextLine],
    gap: float,
    low: Callable[[TextLine], float],
    high: Callable[[TextLine], float],
) -> list[list[TextLine]]:
    """Groups with at least `gap` free pixels between them along one axis, in ascending order."""
    parts: list[list[TextLine]] = []
    end = float("-inf")
    for line in sorted(lines, key=low):
        if not parts or low(line) - end >= gap:
            parts.append([])
        parts[-1].append(line)
        end = max(end, high(line))
    return parts


def _block_order(lines: Sequence[TextLine]) -> list[TextLine]:
    """Columns from the right and downwards, or rows from the top and rightwards, by most of the text."""
    vertical_length = sum(line.length if line.vertical else -line.length for line in lines)
    if vertical_length > 0:
        return _in_tracks(lines, across=lambda line: -line.center[0], along=lambda line: line.center[1])
    return _in_tracks(lines, across=lambda line: line.center[1], along=lambda line: line.center[0])


def _in_tracks(
    lines: Sequence[TextLine], across: Callable[[TextLine], float], along: Callable[[TextLine], float]
) -> list[TextLine]:
    """Lines gathered into tracks (columns or rows), the tracks by `across`, the pieces of one by `along`."""
    tracks: list[list[TextLine]] = []
    for line in sorted(lines, key=across):
        if tracks and abs(across(line) - across(tracks[-1][0])) < SAME_LINE * max(line.size, tracks[-1][0].size):
            tracks[-1].append(line)
        else:
            tracks.append([line])
    return [line for track in tracks for line in sorted(track, key=along)]


def _top(line: TextLine) -> float:
    return line.top


def _bottom(line: TextLine) -> float:
    return line.bottom


def _left(line: TextLine) -> float:
    return line.left


def _right(line: TextLine) -> float:
    return line.right
