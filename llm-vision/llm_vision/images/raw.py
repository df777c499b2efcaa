"""A decoded picture as plain bytes, and reduced copies of it for Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

STRIP_BYTES = 4 * 1024 * 1024
_PILLOW_PIXELS = 8_000_000
"""Larger pictures are reduced on their way to Pillow, which needs a byte more for each pixel."""


@dataclass(frozen=True)
class RawImage:
    """An RGB picture as rows of bytes, 3 a pixel."""

    width: int
    height: int
    data: bytes | bytearray


def strips(width: int, height: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Top and bottom of strips of a few MiB that make up a picture, their heights a multiple of `multiple`."""
    rows = max(1, STRIP_BYTES // (3 * width))
    rows += -rows % multiple
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def for_pillow(picture: RawImage, resample: Image.Resampling) -> Image.Image:
    """The picture for Pillow, a large one reduced strip by strip, so that there is never a second whole copy."""
    factor = 1
    while picture.width * picture.height > _PILLOW_PIXELS * factor**2:
        factor += 1
    if factor == 1:
        return Image.frombytes("RGB", (picture.width, picture.height), bytes(picture.data))
    small = Image.new("RGB", (max(1, picture.width // factor), max(1, picture.height // factor)))
    rows = memoryview(picture.data)
    for top, bottom in strips(picture.width, picture.height, factor):
        height = (bottom - top) // factor
        if height:
            data = rows[top * picture.width * 3 : bottom * picture.width * 3]
            strip = Image.frombytes("RGB", (picture.width, bottom - top), bytes(data))
            small.paste(strip.resize((small.width, height), resample), (0, top // factor))
    return small
