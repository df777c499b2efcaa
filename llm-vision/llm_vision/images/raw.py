"""A decoded picture as plain bytes, and reduced copies of it for Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

STRIP_BYTES = 4 * 1024 * 1024
_PIXELS_TO_LOOK_AT = 8_000_000
"""What is looked at as a whole need not be larger; Pillow's copy of a huge picture would be huge too."""


@dataclass
class RawImage:
    """An RGB picture as rows of bytes, 3 a pixel."""

    width: int
    height: int
    data: bytes | bytearray

    @property
    def is_taken(self) -> bool:
        """Whether the pixels were given away."""
        return not self.data

    def take(self) -> bytes | bytearray:
        """Give the pixels away: nothing else holds them then."""
        data, self.data = self.data, b""
        return data


def cut_strips(width: int, height: int, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Top and bottom of strips of a few MiB that make up a picture, their heights a multiple of `multiple`."""
    rows = max(1, STRIP_BYTES // (3 * width))
    rows += -rows % multiple
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def to_pillow(picture: RawImage) -> Image.Image:
    """A copy of the picture as Pillow's own."""
    return Image.frombytes("RGB", (picture.width, picture.height), bytes(picture.data))


def reduce_picture(picture: RawImage) -> RawImage:
    """The picture itself, or a reduced copy of a large one, made strip by strip."""
    factor = 1
    while picture.width * picture.height > _PIXELS_TO_LOOK_AT * factor**2:
        factor += 1
    if factor == 1:
        return picture
    small = Image.new("RGB", (max(1, picture.width // factor), max(1, picture.height // factor)))
    rows = memoryview(picture.data)
    for top, bottom in cut_strips(picture.width, picture.height, factor):
        height = (bottom - top) // factor
        if height:
            data = rows[top * picture.width * 3 : bottom * picture.width * 3]
            strip = Image.frombytes("RGB", (picture.width, bottom - top), bytes(data))
            small.paste(strip.resize((small.width, height), Image.Resampling.BOX), (0, top // factor))
    return RawImage(small.width, small.height, small.tobytes())
