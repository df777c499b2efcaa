"""A line of text on a picture: where it is, what it says, which way it runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

ELONGATED = 1.5
"""A box this many times longer than wide shows its direction; a shorter one may hold a single character."""


@dataclass(frozen=True)
class TextLine:
    """A column or row as a detector found it."""

    polygon: tuple[Point, Point, Point, Point]
    """Corners in pixels of the picture, clockwise from the top left."""
    text: str
    confidence: float
    """0..1"""
    vertical: bool
    ink: Box | None = None
    """What its characters cover, where that is known; the polygon has a margin."""
    is_ruby: bool = False
    """Whether it was cut off another line: furigana for sure."""

    @cached_property
    def left(self) -> float:
        return min(x for x, _ in self.polygon)

    @cached_property
    def right(self) -> float:
        return max(x for x, _ in self.polygon)

    @cached_property
    def top(self) -> float:
        return min(y for _, y in self.polygon)

    @cached_property
    def bottom(self) -> float:
        return max(y for _, y in self.polygon)

    @property
    def tight_box(self) -> Box:
        """The box of the ink where it is known, else of the polygon."""
        return self.ink or (self.left, self.top, self.right, self.bottom)

    @property
    def glyph_size(self) -> float:
        """Size of a character, about, in pixels: what its ink covers across the line, or the way to the next one."""
        left, top, right, bottom = self.tight_box
        across, along = (right - left, bottom - top) if self.vertical else (bottom - top, right - left)
        return max(1.0, min(across, along / len(self.text) if self.text else along))

    @cached_property
    def center(self) -> Point:
        """The middle of the polygon."""
        return sum(x for x, _ in self.polygon) / 4, sum(y for _, y in self.polygon) / 4

    @cached_property
    def radius(self) -> float:
        """From the middle to the corner that is farthest from it."""
        return max(math.dist(self.center, corner) for corner in self.polygon)

    @cached_property
    def size(self) -> float:
        """Extent across the reading direction, about the size of a character, in pixels; right for tilted lines too."""
        across = sides(self.polygon)
        return across[0] if self.vertical else across[1]

    @cached_property
    def length(self) -> float:
        """Extent along the reading direction, in pixels."""
        across = sides(self.polygon)
        return across[1] if self.vertical else across[0]


def axes(line: TextLine) -> tuple[Point, Point]:
    """Unit vectors along a line, in the direction in which it is read, and across it (rightwards or downwards)."""
    top_left, top_right, bottom_right, bottom_left = line.polygon
    if line.vertical:
        ends = (_middle(top_left, top_right), _middle(bottom_left, bottom_right))
    else:
        ends = (_middle(top_left, bottom_left), _middle(top_right, bottom_right))
    length = math.dist(*ends) or 1.0
    x, y = (ends[1][0] - ends[0][0]) / length, (ends[1][1] - ends[0][1]) / length
    return (x, y), ((y, -x) if line.vertical else (-y, x))


def extent(line: TextLine, axis: Point) -> tuple[float, float]:
    """Lowest and highest place of a line along an axis."""
    places = [x * axis[0] + y * axis[1] for x, y in line.polygon]
    return min(places), max(places)


def sides(polygon: Sequence[Point]) -> tuple[float, float]:
    """Mean width and height of a four-cornered polygon, along its own edges."""
    top_left, top_right, bottom_right, bottom_left = polygon
    width = (math.dist(top_left, top_right) + math.dist(bottom_left, bottom_right)) / 2
    height = (math.dist(top_left, bottom_left) + math.dist(top_right, bottom_right)) / 2
    return width, height


def run_vertically(lines: Sequence[TextLine]) -> bool:
    """Whether most of the text stands in columns, by its length."""
    return sum(line.length if line.vertical else -line.length for line in lines) > 0


def mean_confidence(readings: Iterable[tuple[str, float | None]]) -> float | None:
    """Mean confidence of several texts, each with the weight of its characters; None where there is no text."""
    weighted = [(len(text), confidence or 0.0) for text, confidence in readings]
    characters = sum(length for length, _ in weighted)
    return sum(length * confidence for length, confidence in weighted) / characters if characters else None


def find_directions(polygons: Sequence[Sequence[Point]], default: bool = True) -> list[bool]:
    """For each polygon whether it is vertical; a squarish one goes with the longer part of the others.

    Args:
        polygons: boxes of one picture.
        default: what a picture of only squarish boxes is.
    """
    votes = 0.0
    shown: list[bool | None] = []
    for polygon in polygons:
        width, height = sides(polygon)
        is_long = max(width, height) >= ELONGATED * min(width, height)
        shown.append(height > width if is_long else None)
        if is_long:
            votes += max(width, height) * (1 if height > width else -1)
    majority = votes > 0 if votes else default
    return [majority if vertical is None else vertical for vertical in shown]


def _middle(one: Point, other: Point) -> Point:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2
