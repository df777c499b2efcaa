"""The order in which lines are read: Japanese columns from the right, rows from the top."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from statistics import median

from .lines import TextLine, run_vertically
from .xy_cut import cut_groups

BAND_GAP = 0.8
"""Free height between two groups of columns, in sizes of a character, that makes them two groups, read one after
the other: more than the space inside a column, less than that between two bubbles."""
STRIP_GAP = 2.0
"""Free width between groups, in sizes of a character, that cuts a page into parts: more than between two lines."""
SAME_LINE = 0.5
"""Two pieces whose middles are closer than this share of their size lie on one line."""


def sort_lines(lines: Sequence[TextLine], *, right_to_left: bool = True) -> list[TextLine]:
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
        (BAND_GAP * size, "top", "bottom", False),
        (STRIP_GAP * size, "left", "right", right_to_left),
    ):
        parts = cut_groups(lines, attrgetter(low), attrgetter(high), _at_least(gap))
        if len(parts) > 1:
            ordered = reversed(parts) if reverse else parts
            return [line for part in ordered for line in sort_lines(part, right_to_left=right_to_left)]
    return _sort_block(lines)


def _at_least(gap: float) -> Callable[[TextLine, Sequence[TextLine], float], bool]:
    return lambda line, group, free: free >= gap


def _sort_block(lines: Sequence[TextLine]) -> list[TextLine]:
    """Columns from the right and downwards, or rows from the top and rightwards, by most of the text."""
    if run_vertically(lines):
        return sort_in_tracks(lines, across=lambda line: -line.center[0], along=lambda line: line.center[1])
    return sort_in_tracks(lines, across=lambda line: line.center[1], along=lambda line: line.center[0])


def sort_in_tracks(
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
