"""Bytes to an upright picture: sniffed, measured before decoding, laid on white. Runs in a process of its own."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import ExifTags, Image, ImageOps

from ..errors import (
    ImageBadDimensions,
    ImageTooLarge,
    ImageTooSmall,
    InvalidImage,
    UnsupportedImageFormat,
    VisionError,
)
from .complexity import check_complexity

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)
_DETERMINED_BY_BRAND = b"ftyp"  # ISO base media file: the brand behind it distinguishes AVIF from video
_AVIF_BRANDS = (b"avif", b"avis")
_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
MEMORY_PER_PIXEL = 10
"""Bytes that decoding a pixel may take."""
_WEBP_MEMORY_PER_PIXEL = 16
"""Pillow reads every WebP with the decoder for animations, which keeps four copies of 4 bytes a pixel."""


@dataclass(frozen=True)
class ImageLimits:
    """What a picture may be. Sides and pixels are those of the file, before any rotation."""

    max_pixels: int = 50_000_000
    max_side: int = 32_768
    max_ratio: float = 200
    min_side: int = 4
    allow_tiff: bool = False


def sniff_format(data: bytes | bytearray, *, allow_tiff: bool = False) -> str:
    """Pillow's name of the format, from the first bytes; names and content types are not trusted.

    Raises:
        UnsupportedImageFormat: it is none of the accepted formats.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == _DETERMINED_BY_BRAND and data[8:12] in _AVIF_BRANDS:
        return "AVIF"
    if allow_tiff and data[:4] in (b"II*\x00", b"MM\x00*"):
        return "TIFF"
    accepted = "PNG, JPEG, WebP, GIF, BMP, AVIF" + (", TIFF" if allow_tiff else "")
    raise UnsupportedImageFormat(f"the file is not an image in an accepted format: {accepted}", param="file")


def limits_for(name: str, limits: ImageLimits) -> ImageLimits:
    """The limits for a format: fewer pixels where decoding takes more memory."""
    if name != "WEBP":
        return limits
    return replace(limits, max_pixels=limits.max_pixels * MEMORY_PER_PIXEL // _WEBP_MEMORY_PER_PIXEL)


def check_dimensions(width: int, height: int, limits: ImageLimits) -> None:
    """Refuse what is too large, too small or too long to decode.

    Raises:
        ImageTooLarge, ImageBadDimensions, ImageTooSmall: as their names say.
    """
    if width * height > limits.max_pixels:
        raise ImageTooLarge(f"{width * height} pixels; the limit is {limits.max_pixels}", param="file")
    longest, shortest = max(width, height), min(width, height)
    if longest > limits.max_side:
        raise ImageBadDimensions(f"a side of {longest} pixels; the limit is {limits.max_side}", param="file")
    if longest > shortest * limits.max_ratio:
        raise ImageBadDimensions(
            f"sides of {width} x {height}: the ratio's limit is {limits.max_ratio:g}:1", param="file"
        )
    if shortest < limits.min_side:
        raise ImageTooSmall(f"a side of {shortest} pixels; at least {limits.min_side} are needed", param="file")


def decode(
    data: bytes | bytearray,
    limits: ImageLimits,
    on_measured: Callable[[int, int], None] = lambda width, height: None,
) -> Image.Image:
    """Decode the first frame, upright by its EXIF orientation, in whatever mode it has.

    Args:
        data: a picture file.
        limits: what it may be; checked on the header, before any pixel is decoded.
        on_measured: called with width and height before any pixel is decoded; what it raises ends the decoding.

    Raises:
        UnsupportedImageFormat, ImageTooLarge, ImageBadDimensions, ImageTooSmall: by its header.
        ImageTooComplex: it has too many parts.
        InvalidImage: it is damaged.
    """
    name = sniff_format(data, allow_tiff=limits.allow_tiff)
    check_complexity(name, data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit is higher than ours
            picture = Image.open(io.BytesIO(data), formats=[name])
            check_dimensions(picture.width, picture.height, limits_for(name, limits))
            on_measured(picture.width, picture.height)
            if name == "PNG":
                Image.open(io.BytesIO(data), formats=[name]).verify()  # loading does not look at the checksums
            picture.load()
            return _turn_upright(picture)
    except (VisionError, ConnectionError):
        raise
    except (Image.DecompressionBombError, MemoryError):
        raise ImageTooLarge(f"more than the limit of {limits.max_pixels} pixels", param="file") from None
    except Exception:  # what Pillow raises on damaged files has no common class, and its texts may not leave
        raise InvalidImage("the image is damaged or incomplete", param="file") from None


def _turn_upright(picture: Image.Image) -> Image.Image:
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        return picture
    return ImageOps.exif_transpose(picture) if orientation in range(2, 9) else picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB: 16 bits scaled to 8, transparency laid on white."""
    if picture.mode in _SIXTEEN_BIT_MODES:
        return picture.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if picture.mode == "F":
        raise InvalidImage("floating-point images are not accepted", param="file")
    if picture.has_transparency_data:
        canvas = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(canvas, picture.convert("RGBA")).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")
