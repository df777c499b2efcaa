"""A picture with numbered boxes drawn on it."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from .raw import RawImage, reduce_picture

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

COLOUR = (220, 30, 90)
LINE_SHARE, TEXT_SHARE = 0.002, 0.016
"""Thickness of the boxes and size of the numbers, of the picture's longer side."""
LEAST_TEXT = 12
MARGIN_SHARE = 0.004
"""Free room between a box and what is in it, of the same."""


def draw_labelled_boxes(picture: RawImage, boxes: Sequence[tuple[Box, str]]) -> bytes:
    """A PNG of a picture with boxes and a label at the top right corner of each; a large picture is reduced.

    Args:
        picture: RGB.
        boxes: in its pixels, each with its label.
    """
    small = reduce_picture(picture)
    scale = small.width / picture.width
    canvas = Image.frombytes("RGB", (small.width, small.height), bytes(small.data))
    draw = ImageDraw.Draw(canvas)
    side = max(canvas.size)
    line, margin = max(1, round(LINE_SHARE * side)), max(2, round(MARGIN_SHARE * side))
    font = ImageFont.load_default(max(LEAST_TEXT, round(TEXT_SHARE * side)))
    for box, label in boxes:
        left, top, right, bottom = (value * scale for value in box)
        frame = (left - margin, top - margin, right + margin, bottom + margin)
        draw.rectangle(frame, outline=COLOUR, width=line)
        _draw_label(draw, (frame[2], frame[1]), label, font)
    file = io.BytesIO()
    canvas.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _draw_label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    label: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """White on the boxes' colour, its lower right corner at the upper right one of the box; inside the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), label, font)
    width, height = right - left + 6, bottom - top + 6
    x, y = max(0.0, corner[0] - width), max(0.0, corner[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=COLOUR)
    draw.text((x + 3 - left, y + 3 - top), label, "white", font)
