"""What owocr's WebSocket answers: places in shares of the picture, one word a character."""

from __future__ import annotations

from typing import Any

from ...manga.lines import Point
from ...services.reading.pages import PageReading
from ..ocr.reading import list_lines, truncation_member
from .routes import place_characters

_CAPABILITIES = {
    "words": True,
    "word_bounding_boxes": True,
    "lines": True,
    "line_bounding_boxes": True,
    "paragraphs": True,
    "paragraph_bounding_boxes": True,
}


def as_owocr(page: PageReading) -> dict[str, Any]:
    """A page as owocr's OcrResult."""
    paragraphs = []
    for block in page.blocks:
        lines = [
            {
                "bounding_box": _box(line.polygon, page),
                "text": text,
                "words": [
                    {"text": character, "bounding_box": _box(corners, page), "separator": ""}
                    for character, corners in place_characters(line, text)
                ],
            }
            for line, text in list_lines([block])
        ]
        left, top, right, bottom = block.block.box
        paragraphs.append(
            {
                "bounding_box": _box(((left, top), (right, bottom)), page),
                "lines": lines,
                "writing_direction": "TOP_TO_BOTTOM" if block.block.vertical else "LEFT_TO_RIGHT",
            }
        )
    return {**make_result(page.width, page.height, paragraphs), **truncation_member(page)}


def make_result(width: int, height: int, paragraphs: list[dict[str, Any]]) -> dict[str, Any]:
    """An OcrResult of paragraphs that are in its form already."""
    return {
        "image_properties": {"width": width, "height": height},
        "engine_capabilities": _CAPABILITIES,
        "paragraphs": paragraphs,
    }


def _box(corners: tuple[Point, ...], page: PageReading) -> dict[str, float]:
    xs, ys = [x / page.width for x, _ in corners], [y / page.height for _, y in corners]
    return {
        "center_x": round((min(xs) + max(xs)) / 2, 5),
        "center_y": round((min(ys) + max(ys)) / 2, 5),
        "width": round(max(xs) - min(xs), 5),
        "height": round(max(ys) - min(ys), 5),
        "rotation_z": 0.0,
    }
