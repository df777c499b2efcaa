"""Lines that belong together: the text of one bubble or caption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from .furigana import Ruby, character_size, pair_rubies, split_furigana
from .lines import Box, Point, TextLine, axes, extent, run_vertically
from .ordering import sort_in_tracks

NEAR = 1.0
"""Gap, in sizes of the larger character, up to which lines are looked at together before furigana are separated."""
NEXT_LINE = 0.9
"""Gap between two lines of a block, in sizes of a character: manga are set with a quarter to three quarters of it, and
another bubble's text is further away, behind two outlines."""
SAME_LINE = 0.9
"""Gap between two pieces of one line, in sizes of a character: a wider space begins another text."""
BESIDE = 0.3
"""Share of the shorter line's length that lies beside its neighbour: bubbles that only meet at a corner are two."""
IN_LINE = 0.6
"""Share of the smaller size by which two pieces of one line overlap across it."""
SIZE_RATIO = 1.7
"""Between characters of one block: emphasis is up to a half larger, and a detector's boxes vary by a tenth."""
FAR = 2.5
"""Distance of two lines' middles, of their half diagonals together, beyond which they cannot be neighbours: a box
around a tilted line is up to 1.42 times as large, and both gaps are below the size of a character."""
SQUARISH = 1.5
"""A line less than this many times longer than wide runs in the direction of its neighbour."""


@dataclass(frozen=True)
class Block:
    """A text with its lines in reading order."""

    lines: tuple[TextLine, ...]
    vertical: bool
    furigana: tuple[TextLine, ...] = ()
    """The small lines beside them."""

    @cached_property
    def box(self) -> Box:
        """Left, top, right, bottom of the lines, in pixels."""
        lefts, tops, rights, bottoms = zip(*(line.tight_box for line in self.lines), strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)

    @property
    def left(self) -> float:
        return self.box[0]

    @property
    def top(self) -> float:
        return self.box[1]

    @property
    def right(self) -> float:
        return self.box[2]

    @property
    def bottom(self) -> float:
        return self.box[3]

    @cached_property
    def font_size(self) -> float:
        """Of its characters, about, in pixels."""
        return median(line.glyph_size for line in self.lines)

    @property
    def rubies(self) -> list[Ruby]:
        """What its furigana say of which characters; of lines that were read."""
        return pair_rubies(self.lines, self.furigana)

    @cached_property
    def all_lines(self) -> tuple[TextLine, ...]:
        """Lines and furigana in reading order."""
        return _sort_lines([*self.lines, *self.furigana], vertical=self.vertical)


def group(lines: Sequence[TextLine]) -> list[Block]:
    """Lines of a picture as blocks, in no order.

    Furigana are distinguished from text among their neighbours only: on a page with several sizes, the text of one
    bubble is as small as the furigana of another.
    """
    blocks: list[Block] = []
    for cluster in _find_components([line for line in lines if not line.is_ruby], _is_near):
        bases, furigana = split_furigana(cluster)
        parts = [_as_block(part) for part in _find_components(bases, belong_together)]
        blocks += _add_furigana(parts, furigana)
    return _add_furigana(blocks, [line for line in lines if line.is_ruby]) if blocks else []


def belong_together(one: TextLine, other: TextLine) -> bool:
    """Whether two lines are neighbours in one block: of one direction, about one size, and close."""
    if math.dist(one.center, other.center) > FAR * (one.radius + other.radius):  # most pairs of a full page
        return False
    base, second = (one, other) if one.length / one.size >= other.length / other.size else (other, one)
    if one.vertical != other.vertical and second.length >= SQUARISH * second.size:
        return False
    along, across = axes(base)
    low, high = extent(base, along)
    second_low, second_high = extent(second, along)
    left, right = extent(base, across)
    second_left, second_right = extent(second, across)
    characters = character_size(one), character_size(other)
    if max(characters) > SIZE_RATIO * min(characters):
        return False
    unit = sum(characters) / 2
    beside = min(high, second_high) - max(low, second_low)
    gap_across = max(left, second_left) - min(right, second_right)
    if beside >= BESIDE * min(high - low, second_high - second_low) and gap_across <= NEXT_LINE * unit:
        return True
    return -gap_across >= IN_LINE * min(right - left, second_right - second_left) and -beside <= SAME_LINE * unit


def _is_near(one: TextLine, other: TextLine) -> bool:
    reach = NEAR * max(one.size, other.size)
    return (
        max(one.left, other.left) - min(one.right, other.right) <= reach
        and max(one.top, other.top) - min(one.bottom, other.bottom) <= reach
    )


def _find_components(
    lines: Sequence[TextLine], is_joined: Callable[[TextLine, TextLine], bool]
) -> list[list[TextLine]]:
    """Lines that are joined, directly or by others."""
    components: list[list[TextLine]] = []
    for line in lines:
        joined = [group for group in components if any(is_joined(line, other) for other in group)]
        components = [group for group in components if group not in joined]
        components.append([line, *(other for group in joined for other in group)])
    return components


def _as_block(lines: Sequence[TextLine]) -> Block:
    vertical = run_vertically(lines)
    return Block(_sort_lines(lines, vertical=vertical), vertical)


def _add_furigana(blocks: Sequence[Block], furigana: Sequence[TextLine]) -> list[Block]:
    """Each small line goes to the block with the closest line."""
    theirs: list[list[TextLine]] = [[] for _ in blocks]
    for small in furigana:
        distances = [
            min(math.dist(small.center, line.center) / line.length for line in block.lines) for block in blocks
        ]
        theirs[distances.index(min(distances))].append(small)
    return [
        Block(block.lines, block.vertical, (*block.furigana, *small))
        for block, small in zip(blocks, theirs, strict=True)
    ]


def _sort_lines(lines: Sequence[TextLine], *, vertical: bool) -> tuple[TextLine, ...]:
    """Columns from the right, rows from the top; the pieces of one line one after the other, also when tilted."""
    longest = max(lines, key=lambda line: line.length)
    along, across = axes(longest)
    if longest.vertical != vertical:
        along, across = ((0.0, 1.0), (1.0, 0.0)) if vertical else ((1.0, 0.0), (0.0, 1.0))
    sign = -1 if vertical else 1
    ordered = sort_in_tracks(
        lines,
        across=lambda line: sign * _dot(line.center, across),
        along=lambda line: _dot(line.center, along),
    )
    return tuple(ordered)


def _dot(point: Point, axis: Point) -> float:
    return point[0] * axis[0] + point[1] * axis[1]
