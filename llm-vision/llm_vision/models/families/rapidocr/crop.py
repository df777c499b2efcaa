"""A crop with the embedded networks, in parts: where its lines are, then what each says."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from ....manga.lines import Point, TextLine, find_directions
from ...parts import Part
from .engine import CROP_SIDE, FLAT, LEAST_CONFIDENCE, Engine, Pixels, in_original, reduce_size, with_border
from .polygons import Polygon, as_points

CropLines = tuple[list[TextLine], bool]
"""In no order, with raw texts; and whether there were more than are read."""
Corners = tuple[Point, Point, Point, Point]


@dataclass(frozen=True)
class _Prepared:
    """A crop as the networks see it."""

    padded: Pixels
    """BGR."""
    border: int
    scale: float
    """Of the original's size."""

    @property
    def is_small(self) -> bool:
        return bool(max(self.padded.shape[:2]) - 2 * self.border <= CROP_SIDE)


def find_and_read(pictures: list[Pixels], max_lines: int) -> Generator[Sequence[Part], list[Any], CropLines]:
    """The lines of a crop, and whether there are more.

    Args:
        pictures: one, of shape (height, width, 3), in RGB; it is taken out, so that its memory can be free.
        max_lines: as many are read.
    """
    (crop,) = yield [partial(_prepare, pictures)]
    if crop is None:
        return [], False
    (found,) = yield [lambda engine: engine.find(crop.padded)]
    polygons = found[:max_lines]
    corners = [as_points(polygon) for polygon in polygons]
    named = zip(polygons, corners, find_directions(corners), strict=True)
    read = yield [partial(_read, crop.padded, *line) for line in named]
    lines = [line for line in read if line]
    if not lines and crop.is_small:
        (lines,) = yield [lambda engine: engine.read_whole(crop.padded, crop.border)]
    return [in_original(line, crop.border, crop.scale) for line in lines], len(found) > max_lines


def _prepare(pictures: list[Pixels], _: Engine) -> _Prepared | None:
    """The crop with a border, a huge one reduced; None for a blank one."""
    small, scale = reduce_size(pictures.pop())
    bgr = np.ascontiguousarray(small[:, :, ::-1])
    if float(cv2.meanStdDev(bgr)[1].max()) < FLAT:
        return None
    padded, border = with_border(bgr)
    return _Prepared(padded, border, scale)


def _read(bgr: Pixels, polygon: Polygon, corners: Corners, vertical: bool, engine: Engine) -> TextLine | None:
    """A line, unless it is too unsure."""
    text, confidence = engine.read_line(bgr, polygon)
    return TextLine(corners, text, confidence, vertical) if text and confidence >= LEAST_CONFIDENCE else None
