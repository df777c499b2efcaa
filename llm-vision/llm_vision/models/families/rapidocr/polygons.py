"""Polygons of lines: arrays of four corners, clockwise from the top left, shape (4, 2), in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ....manga.lines import Point

Polygon = NDArray[np.float32]


def as_points(polygon: Polygon) -> tuple[Point, Point, Point, Point]:
    """The corners as pairs of numbers."""
    first, second, third, fourth = ((float(x), float(y)) for x, y in polygon)
    return first, second, third, fourth


def box_area(polygon: Polygon) -> float:
    """Square pixels of the upright box around a polygon."""
    return float(np.prod(polygon.max(axis=0) - polygon.min(axis=0)))


def common_area(one: Polygon, other: Polygon) -> float:
    """Square pixels that the upright boxes around two polygons share."""
    overlap = np.minimum(one.max(axis=0), other.max(axis=0)) - np.maximum(one.min(axis=0), other.min(axis=0))
    return float(np.prod(overlap)) if overlap.min() > 0 else 0.0
