"""A page as an object of the .mokuro format (https://github.com/kha-white/mokuro), which manga readers show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .page import ReadBlock

VERSION = "0.2.1"
"""Of the format: that of the first program which wrote pages in this shape."""


def make_page(width: int, height: int, blocks: Sequence[ReadBlock]) -> dict[str, Any]:
    """A page.

    Args:
        width, height: of the picture.
        blocks: in reading order.
    """
    return {
        "version": VERSION,
        "img_width": width,
        "img_height": height,
        "blocks": [
            {
                "box": [round(value) for value in read.block.box],
                "vertical": read.block.vertical,
                "font_size": round(read.block.font_size, 1),
                "lines_coords": [[[round(x, 1), round(y, 1)] for x, y in line.polygon] for line in read.block.lines],
                "lines": list(read.line_texts),
            }
            for read in blocks
        ],
    }
