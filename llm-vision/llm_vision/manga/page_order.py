"""The order in which the blocks of a page are read: panel by panel, and in a panel from its first corner on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

from .blocks import Block
from .lines import Box
from .xy_cut import cut_groups

OVERLAP = 0.25
"""Share of the smaller extent by which two blocks may overlap and still stand one behind the other: bubbles touch."""


def sort_blocks(blocks: Sequence[Block], panels: Sequence[Box], *, right_to_left: bool) -> list[Block]:
    """Blocks as a reader takes them.

    Args:
        blocks: of one page.
        panels: in reading order; a block belongs to the one that has most of it, else to the nearest.
        right_to_left: whether the right one of two neighbours comes first.
    """
    if not panels:
        return _sort_panel(blocks, right_to_left)
    members: list[list[Block]] = [[] for _ in panels]
    for block in blocks:
        shares = [_common_area(block.box, panel) for panel in panels]
        if max(shares) > 0:
            members[shares.index(max(shares))].append(block)
        else:
            distances = [_distance(block.box, panel) for panel in panels]
            members[distances.index(min(distances))].append(block)
    return [block for part in members for block in _sort_panel(part, right_to_left)]


def _sort_panel(blocks: Sequence[Block], right_to_left: bool) -> list[Block]:
    """Bands from the top, the blocks of a band from the side where reading begins; again in each part."""
    if len(blocks) < 2:
        return list(blocks)
    for low, high, reverse in (("top", "bottom", False), ("left", "right", right_to_left)):
        parts = _cut_bands(blocks, attrgetter(low), attrgetter(high))
        if len(parts) > 1:
            ordered = list(reversed(parts)) if reverse else parts
            return [block for part in ordered for block in _sort_panel(part, right_to_left)]
    sign = -1 if right_to_left else 1
    return sorted(blocks, key=lambda block: block.top + sign * (block.left + block.right) / 2)


def _cut_bands(
    blocks: Sequence[Block], low: Callable[[Block], float], high: Callable[[Block], float]
) -> list[list[Block]]:
    """Groups that do not overlap along one axis, but for a little, in ascending order."""

    def is_apart(block: Block, band: Sequence[Block], free: float) -> bool:
        smallest = min(high(other) - low(other) for other in (block, *band))
        return -free <= OVERLAP * smallest

    return cut_groups(blocks, low, high, is_apart)


def _common_area(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _distance(one: Box, other: Box) -> float:
    across = max(0.0, max(one[0], other[0]) - min(one[2], other[2]))
    down = max(0.0, max(one[1], other[1]) - min(one[3], other[3]))
    return across + down
