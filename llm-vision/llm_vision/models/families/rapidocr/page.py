"""Whole pages with the embedded networks, in parts: where lines and panels are, and what the lines say."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import cv2
import numpy as np

from ....manga.furigana import Furigana
from ....manga.lines import Box as Ink
from ....manga.lines import TextLine, find_directions
from ....manga.page import ReadingOrder
from ...parts import Part
from ...tasks.reading import ReadLines, ReadPage
from .engine import FLAT, LEAST_CONFIDENCE, PAGE_SIDE, Engine, Pixels, straighten
from .line_ink import cut, ink_spans, ruby_strip
from .panels import Box, find_panels
from .polygons import Polygon, as_points
from .tiles import Tile, join_tiles, tiles

LARGE = 75_000_000
"""Bytes of pixels from which on the tiles of a page are looked at one after the other: memory has a bound."""
_one_at_a_time = threading.Lock()
_TILES_AT_ONCE = 4
_AT_ONCE = 20
"""Lines in which furigana are looked for in one go."""
_SEEN_TWICE = 2
"""Most tiles that see a line."""
_BORDER = 20
"""Free pixels around a tile: text that touches the edge is not found."""

Reading = tuple[str, float]
"""Text and confidence."""


@dataclass(frozen=True)
class PageLines:
    """The lines of a page, with raw texts."""

    lines: tuple[TextLine, ...]
    """With empty texts where they are not to be read, and where nothing sure enough was."""
    panels: tuple[Box, ...] = ()
    right_to_left: bool = True
    is_truncated: bool = False
    """Whether there were more than are read."""


PageSteps = Generator[Sequence[Part], list[Any], PageLines]


def read_named_lines(rgb: Pixels, request: ReadLines) -> PageSteps:
    """What the lines say that the request names."""
    lines = list(request.lines)
    yield from _read_lines(rgb, lines, skips_ruby=request.furigana is Furigana.STRIP)
    return PageLines(tuple(lines))


def find_and_read(rgb: Pixels, request: ReadPage, max_lines: int) -> PageSteps:
    """The lines and panels of a page, and what the lines say, where that is asked for.

    Args:
        rgb: shape (height, width, 3).
        request: what is asked.
        max_lines: as many are taken, in the order of the tiles.
    """
    polygons = yield from _find_polygons(rgb, max_lines)
    is_truncated = len(polygons) > max_lines
    polygons = polygons[:max_lines]
    directions = find_directions([as_points(polygon) for polygon in polygons])
    named = list(zip(polygons, directions, strict=True))
    some = [named[at : at + _AT_ONCE] for at in range(0, len(named), _AT_ONCE)]
    found = yield [partial(_split_ruby, rgb, part) for part in some]
    lines = [line for part in found for line in part]
    are_columns = 2 * sum(line.vertical for line in lines) >= len(lines)
    order = request.reading_order
    right_to_left = order is ReadingOrder.RTL or (order is ReadingOrder.AUTO and are_columns)
    (panels,) = yield [lambda _: find_panels(rgb, right_to_left=right_to_left)]
    if request.reads_lines:
        yield from _read_lines(rgb, lines, skips_ruby=request.furigana is Furigana.STRIP)
    return PageLines(tuple(lines), tuple(panels), right_to_left, is_truncated)


def _find_polygons(rgb: Pixels, max_lines: int) -> Generator[Sequence[Part], list[Any], list[Polygon]]:
    """The lines of all tiles; of what is far too much to be read, not all tiles are looked at."""
    found: list[tuple[Tile, list[Polygon]]] = []
    waiting = tiles(*rgb.shape[:2])
    while waiting and sum(len(polygons) for _, polygons in found) <= _SEEN_TWICE * max_lines:
        some, waiting = waiting[:_TILES_AT_ONCE], waiting[_TILES_AT_ONCE:]
        polygons = yield [partial(_find_in_tile, rgb, tile) for tile in some]
        found += zip(some, polygons, strict=True)
    (joined,) = yield [lambda _: join_tiles(found, max(rgb.shape[:2]))]
    return cast("list[Polygon]", joined)


def _read_lines(rgb: Pixels, lines: list[TextLine], *, skips_ruby: bool) -> Generator[Sequence[Part], list[Any], None]:
    """Put lines with their texts into the places of those without."""
    numbers = [number for number, line in enumerate(lines) if not (skips_ruby and line.is_ruby)]
    readings = yield [partial(_read_line, rgb, lines[number]) for number in numbers]
    for number, (text, confidence) in zip(numbers, readings, strict=True):
        lines[number] = replace(lines[number], text=text, confidence=confidence)


def _find_in_tile(rgb: Pixels, tile: Tile, engine: Engine) -> list[Polygon]:
    """The lines in a tile of a page, as polygons of the page."""
    with _one_at_a_time if rgb.size > LARGE else nullcontext():
        return [tile.moved(polygon) for polygon in _detect(engine, tile.of(rgb))]


def _split_ruby(rgb: Pixels, some: Sequence[tuple[Polygon, bool]], _: Engine) -> list[TextLine]:
    return [line for polygon, vertical in some for line in _lines_in(rgb, polygon, vertical=vertical)]


def _lines_in(rgb: Pixels, polygon: Polygon, *, vertical: bool) -> list[TextLine]:
    """A line, and its furigana where the detector has taken them for a part of it."""
    grey = _grey_line(rgb, polygon)
    place = ruby_strip(grey, vertical=vertical)
    if place is None:
        return [TextLine(as_points(polygon), "", 0.0, vertical, _ink_box(grey, polygon))]
    left_or_upper, right_or_lower = cut(polygon, place, vertical=vertical)
    base, ruby = (left_or_upper, right_or_lower) if vertical else (right_or_lower, left_or_upper)
    return [
        TextLine(as_points(part), "", 0.0, vertical, _ink_box(_grey_line(rgb, part), part), is_ruby=part is ruby)
        for part in (base, ruby)
    ]


def _ink_box(grey: Pixels, polygon: Polygon) -> Ink | None:
    """Left, top, right, bottom of what is drawn in a line; right for tilted lines within their height."""
    spans = ink_spans(grey)
    if spans is None:
        return None
    (left, right), (top, bottom) = spans
    _, kept = cut(polygon, left, vertical=True)
    kept, _ = cut(kept, (right - left) / (1 - left), vertical=True)
    _, kept = cut(kept, top, vertical=False)
    kept, _ = cut(kept, (bottom - top) / (1 - top), vertical=False)
    low, high = kept.min(axis=0), kept.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _grey_line(rgb: Pixels, polygon: Polygon) -> Pixels:
    return cv2.cvtColor(straighten(rgb, polygon), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def _detect(engine: Engine, rgb: Pixels) -> list[Polygon]:
    scale = min(1.0, (PAGE_SIDE - 2 * _BORDER) / max(rgb.shape[:2]))
    if scale < 1:
        rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    if float(cv2.meanStdDev(bgr)[1].max()) < FLAT:
        return []
    padded = cv2.copyMakeBorder(bgr, _BORDER, _BORDER, _BORDER, _BORDER, cv2.BORDER_REPLICATE).astype(
        np.uint8, copy=False
    )
    return [(polygon - _BORDER) / scale for polygon in engine.detect(padded)]


def _read_line(rgb: Pixels, line: TextLine, engine: Engine) -> Reading:
    """What a line says; nothing when that is too unsure."""
    text, confidence = engine.read_line(rgb, np.array(line.polygon, np.float32), is_rgb=True)
    return (text, confidence) if confidence >= LEAST_CONFIDENCE else ("", confidence)
