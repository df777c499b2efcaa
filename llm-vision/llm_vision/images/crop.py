"""Parts of a decoded picture."""

from __future__ import annotations

from .raw import RawImage

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


def crop(picture: RawImage, box: Box, margin: float = 0) -> RawImage:
    """A copy of a part, `margin` pixels larger on each side where the picture goes on; at least one pixel."""
    left, top = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    right, bottom = min(picture.width, int(box[2] + margin) + 1), min(picture.height, int(box[3] + margin) + 1)
    left, top = min(left, picture.width - 1), min(top, picture.height - 1)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    rows = memoryview(picture.data)
    pitch = 3 * picture.width
    parts = [rows[row * pitch + 3 * left : row * pitch + 3 * right] for row in range(top, bottom)]
    return RawImage(right - left, bottom - top, b"".join(parts))
