"""Facing pages and tall strips in tiles that overlap, and lines that were found in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .polygons import Polygon, box_area

FACING = 1.15
"""Width to height from which on a picture is looked at as two pages."""
FACING_OVERLAP = 0.06
"""Of the width: wider than a column, and than the free strip between two pages."""
TILED = 2.2
"""Sides' ratio from which on a picture is looked at in more tiles: pages are at most twice as high as wide."""
TILE = 1.6
"""Length of a tile, of the shorter side: the shape of a page."""
OVERLAP = 0.5
"""Of the shorter side: longer than a column of a bubble, so that every line is whole in one of the tiles."""
EDGE = 4
"""Pixels from a tile's end within which a line may go on behind it; the detector leaves a few free."""
SAME = 0.3
"""Share of the smaller of two boxes that lies in the other one when both are the same line."""


@dataclass(frozen=True)
class Tile:
    """A part of a picture, across all of its shorter side."""

    start: int
    end: int
    along: int
    """1 for parts from the top to the bottom, 0 for parts from the left to the right: the index of the coordinate."""

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Its pixels."""
        return pixels[self.start : self.end] if self.along else pixels[:, self.start : self.end]

    def moved(self, polygon: Polygon) -> Polygon:
        """A polygon of the tile with the places that it has in the picture."""
        offset = (0, self.start) if self.along else (self.start, 0)
        return polygon + np.array(offset, np.float32)

    def cuts(self, polygon: Polygon, whole: int) -> bool:
        """Whether a polygon of the picture, `whole` pixels long, reaches an end of the tile that is none of its own."""
        low, high = polygon[:, self.along].min(), polygon[:, self.along].max()
        return bool((self.start > 0 and low <= self.start + EDGE) or (self.end < whole and high >= self.end - EDGE))


def tiles(height: int, width: int) -> list[Tile]:
    """What to look at one after the other; the whole picture where it has the shape of a page."""
    along, length, across = (1, height, width) if height >= width else (0, width, height)
    if length < TILED * across:
        if along or length < FACING * across:
            return [Tile(0, length, along)]
        half = round((1 + FACING_OVERLAP) / 2 * length)
        return [Tile(length - half, length, along), Tile(0, half, along)]
    size, step = round(TILE * across), round((TILE - OVERLAP) * across)
    starts = [*range(0, length - size, step), length - size]
    return [Tile(start, start + size, along) for start in starts]


def join_tiles(lines_of_tiles: Sequence[tuple[Tile, list[Polygon]]], whole: int) -> list[Polygon]:
    """All lines once: those that two tiles have found, and those that an end of a tile has cut.

    Args:
        lines_of_tiles: each tile with its lines, as polygons of the picture.
        whole: length of the picture along the tiles.
    """
    kept: list[_View] = []
    for tile, polygons in lines_of_tiles:
        earlier = _Views(kept)  # two lines of one tile are two lines, also where their boxes overlap
        views = [_View(polygon, tile.cuts(polygon, whole)) for polygon in polygons]
        joined = [_best([*earlier.take_same(view.polygon), view]) for view in views]
        kept = [*earlier.left, *joined]
    return [view.polygon for view in kept]


class _Views:
    """The lines of earlier tiles, and which of them are still to be joined.

    Args:
        views: of them.
    """

    def __init__(self, views: Sequence[_View]) -> None:
        self._views = views
        self._is_left = np.ones(len(views), bool)
        corners = np.array([view.polygon for view in views]).reshape(-1, 4, 2)
        self._low, self._high = corners.min(axis=1), corners.max(axis=1)
        self._area = np.prod(self._high - self._low, axis=1)

    @property
    def left(self) -> list[_View]:
        """Those that no line was the same as."""
        return [self._views[number] for number in np.flatnonzero(self._is_left).tolist()]

    def take_same(self, polygon: Polygon) -> list[_View]:
        """Those that are the same line as a polygon; they are not there any more afterwards."""
        overlap = np.minimum(self._high, polygon.max(axis=0)) - np.maximum(self._low, polygon.min(axis=0))
        common = np.where(overlap.min(axis=1) > 0, overlap.prod(axis=1), 0.0)
        is_same = self._is_left & (common > 0) & (common >= SAME * np.minimum(self._area, box_area(polygon)))
        self._is_left &= ~is_same
        return [self._views[number] for number in np.flatnonzero(is_same).tolist()]


@dataclass(frozen=True, eq=False)
class _View:
    """A line as one tile shows it."""

    polygon: Polygon
    is_cut: bool


def _best(views: Sequence[_View]) -> _View:
    """Of several views of a line the largest whole one; cut ones together."""
    whole = [view for view in views if not view.is_cut]
    if whole:
        return max(whole, key=lambda view: box_area(view.polygon))
    return views[0] if len(views) == 1 else _View(_hull([view.polygon for view in views]), is_cut=True)


def _hull(polygons: Sequence[Polygon]) -> Polygon:
    points = np.concatenate(polygons)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
