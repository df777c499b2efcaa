"""Whole pages with the embedded networks: where lines and panels are, and what the lines say."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from ....manga.blocks import Block
from ....manga.furigana import Furigana
from ....manga.lines import Box as Ink
from ....manga.lines import TextLine, find_directions
from ....manga.page import ReadingOrder, form_blocks
from ...base import Item
from ...tasks.reading import ReadLines, ReadPage
from .engine import FLAT, LEAST_CONFIDENCE, PAGE_SIDE, Engine, Pixels, straighten
from .line_ink import cut, ink_spans, ruby_strip
from .panels import Box, find_panels
from .polygons import Polygon, as_points
from .tiles import Tile, join_tiles, tiles

MOST_LINES = 1500
"""Of a page; a dense page of a newspaper has half of that, more are noise."""
LARGE = 75_000_000
"""Bytes of pixels from which on the tiles of a page are looked at one after the other: memory has a bound."""
_one_at_a_time = threading.Lock()
_BORDER = 20
"""Free pixels around a tile: text that touches the edge is not found."""

Reading = tuple[str, float]
"""Text and confidence."""


@dataclass
class Page:
    """A page while it is read."""

    item: Item
    request: ReadPage | ReadLines
    lines: list[TextLine]
    """With empty texts until they are read, and where nothing sure enough was."""
    is_to_be_read: bool
    tiles: Sequence[Tile] = ()
    """What is to be looked at."""
    panels: list[Box] = field(default_factory=list)
    right_to_left: bool = True
    failure: Exception | None = None
    """Why it could not be read."""

    @property
    def rgb(self) -> Pixels:
        """Shape (height, width, 3)."""
        return self.item.images[0]

    def take_lines(self, lines_of_tiles: Sequence[list[Polygon] | Exception]) -> None:
        """Join what was found in the tiles, and find the panels.

        Where the reading order is AUTO, a page is read from the right if most lines stand in columns.
        """
        self.failure = next((part for part in lines_of_tiles if isinstance(part, Exception)), None)
        if self.failure or not self.tiles:
            return
        lines = list(zip(self.tiles, lines_of_tiles, strict=True))
        polygons = join_tiles(lines, max(self.rgb.shape[:2]))[:MOST_LINES]  # type: ignore[arg-type]
        for polygon, vertical in zip(
            polygons, find_directions([as_points(polygon) for polygon in polygons]), strict=True
        ):
            self.lines += _lines_in(self.rgb, polygon, vertical=vertical)
        order = self.request.reading_order if isinstance(self.request, ReadPage) else ReadingOrder.AUTO
        columns = sum(line.vertical for line in self.lines)
        are_columns = 2 * columns >= len(self.lines)
        self.right_to_left = order is ReadingOrder.RTL or (order is ReadingOrder.AUTO and are_columns)
        self.panels = find_panels(self.rgb, right_to_left=self.right_to_left)

    @property
    def lines_to_read(self) -> list[int]:
        """Which lines are to be read: furigana only where somebody asks for them."""
        if not self.is_to_be_read or self.failure:
            return []
        skips_ruby = self.request.furigana is Furigana.STRIP
        return [number for number, line in enumerate(self.lines) if not (skips_ruby and line.is_ruby)]

    def take_reading(self, number: int, reading: Reading | Exception) -> None:
        """What a line says."""
        if isinstance(reading, Exception):
            self.failure = reading
        else:
            text, confidence = reading
            self.lines[number] = replace(self.lines[number], text=text, confidence=confidence)

    def blocks_of(self, lines: Sequence[TextLine]) -> list[Block]:
        """Lines as blocks in reading order; none where the request named the lines."""
        if not self.tiles:
            return []
        were_read = self.is_to_be_read
        return form_blocks(lines, self.panels, right_to_left=self.right_to_left, were_read=were_read)


def page_of(item: Item, request: ReadPage | ReadLines) -> Page:
    """A page that is not looked at yet, or one whose lines the request names."""
    if isinstance(request, ReadLines):
        return Page(item, request, list(request.lines), is_to_be_read=True)
    return Page(item, request, [], request.reads_lines, tiles=tiles(*item.images[0].shape[:2]))


def find_lines(engine: Engine, part: tuple[Page, Tile]) -> list[Polygon]:
    """The lines in a tile of a page, as polygons of the page."""
    page, tile = part
    if page.item.cancelled:
        return []
    with _one_at_a_time if page.rgb.size > LARGE else nullcontext():
        return [tile.moved(polygon) for polygon in _detect(engine, tile.of(page.rgb))]


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


def read_line(engine: Engine, place: tuple[Page, int]) -> Reading:
    """What one line of a page says; nothing when that is too unsure or nobody waits for it."""
    page, number = place
    if page.item.cancelled:
        return "", 0.0
    text, confidence = engine.read_line(page.rgb, np.array(page.lines[number].polygon, np.float32))
    return (text, confidence) if confidence >= LEAST_CONFIDENCE else ("", confidence)
