"""A line of text on a picture: where it is, what it says, which way it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

Point = tuple[float, float]

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

    @cached_property
    def center(self) -> Point:
        """The middle of the polygon."""
        return sum(x for x, _ in self.polygon) / 4, sum(y for _, y in self.polygon) / 4

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


def sides(polygon: Sequence[Point]) -> tuple[float, float]:
    """Mean width and height of a four-cornered polygon, along its own edges."""
    top_left, top_right, bottom_right, bottom_left = polygon
    width = (_distance(top_left, top_right) + _distance(bottom_left, bottom_right)) / 2
    height = (_distance(top_left, bottom_left) + _distance(top_right, bottom_right)) / 2
    return width, height


def directions(polygons: Sequence[Sequence[Point]], default: bool = True) -> list[bool]:
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


def _distance(one: Point, other: Point) -> float:
    return math.dist(one, other)
