"""Bytes to upright RGB pictures: every format and mode comes out with the right colours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fixtures.encoding import saved
from fixtures.pixels import decode_rgb
from llm_vision.errors import (
    ImageBadDimensions,
    ImageTooLarge,
    ImageTooSmall,
    InvalidImage,
    UnsupportedImageFormat,
)
from llm_vision.images.decode import ImageLimits, check_dimensions, decode

LIMITS = ImageLimits()
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def halves(left: tuple[int, ...] = RED, right: tuple[int, ...] = BLUE) -> Image.Image:
    """32 x 16: one colour on the left, another on the right."""
    picture = Image.new("RGB", (32, 16), left)
    picture.paste(Image.new("RGB", (16, 16), right), (16, 0))
    return picture


def colour_at(picture: Image.Image, x: int, y: int) -> np.ndarray:
    return np.array(picture.getpixel((x, y)), dtype=int)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_every_accepted_format_is_decoded(kind: str) -> None:
    options = {"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}
    picture = decode_rgb(saved(halves(), kind, **options), LIMITS)
    assert (picture.mode, picture.size) == ("RGB", (32, 16))
    assert abs(colour_at(picture, 4, 8) - RED).max() <= 12
    assert abs(colour_at(picture, 28, 8) - BLUE).max() <= 12


def test_tiff_only_by_setting() -> None:
    data = saved(halves(), "TIFF")
    with pytest.raises(UnsupportedImageFormat):
        decode(data, LIMITS)
    assert tuple(colour_at(decode_rgb(data, ImageLimits(allow_tiff=True)), 4, 8)) == RED


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (GREEN, RED, BLUE)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    assert abs(colour_at(decode_rgb(data, LIMITS), 10, 10) - GREEN).max() <= 12


ORIENTED = {
    1: [RED, BLUE, GREEN, WHITE],
    2: [BLUE, RED, WHITE, GREEN],
    3: [WHITE, GREEN, BLUE, RED],
    4: [GREEN, WHITE, RED, BLUE],
    5: [RED, GREEN, BLUE, WHITE],
    6: [GREEN, RED, WHITE, BLUE],
    7: [WHITE, BLUE, GREEN, RED],
    8: [BLUE, WHITE, RED, GREEN],
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation_is_applied(orientation: int) -> None:
    """Corners clockwise from the top left are red, blue, green (lower left), white in the file."""
    picture = Image.new("RGB", (40, 20))
    for number, colour in enumerate((RED, BLUE, GREEN, WHITE)):
        picture.paste(Image.new("RGB", (20, 10), colour), (number % 2 * 20, number // 2 * 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode_rgb(saved(picture, "PNG", exif=exif), LIMITS)
    width, height = upright.size
    assert (width, height) == ((40, 20) if orientation < 5 else (20, 40))
    corners = [(2, 2), (width - 3, 2), (2, height - 3), (width - 3, height - 3)]
    assert [upright.getpixel(corner) for corner in corners] == ORIENTED[orientation]


def test_a_broken_exif_block_does_not_matter() -> None:
    data = saved(halves(), "JPEG", quality=95, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xffgarbage")
    assert abs(colour_at(decode_rgb(data, LIMITS), 4, 8) - RED).max() <= 12


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    picture = Image.new("RGBA", (32, 16), (0, 0, 0, 0))
    picture.paste(Image.new("RGBA", (16, 16), (0, 0, 0, 255)), (16, 0))
    if mode == "P":
        data = saved(picture.convert("P"), "PNG", transparency=picture.convert("P").getpixel((0, 0)))
        picture = Image.new("P", (32, 16), 0)
        picture.putpalette([10, 20, 30, 0, 0, 0])
        picture.paste(1, (16, 0, 32, 16))
        data = saved(picture, "PNG", transparency=0)
    else:
        data = saved(picture.convert("LA") if mode == "LA" else picture, "PNG")
    decoded = decode_rgb(data, LIMITS)
    assert decoded.getpixel((4, 8)) == WHITE
    assert decoded.getpixel((28, 8)) == (0, 0, 0)


def test_half_transparency_is_mixed_with_white() -> None:
    decoded = decode_rgb(saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"), LIMITS)
    assert abs(colour_at(decoded, 4, 4) - (255, 127, 127)).max() <= 1


def test_sixteen_bit_pictures_keep_their_greys() -> None:
    grey = np.zeros((16, 32), np.uint16)
    grey[:, 8:16], grey[:, 16:24], grey[:, 24:] = 0x4000, 0x8000, 0xFFFF
    for kind in ("PNG", "TIFF"):
        decoded = decode_rgb(saved(Image.fromarray(grey), kind), ImageLimits(allow_tiff=True))
        greys = [int(colour_at(decoded, x, 8)[0]) for x in (4, 12, 20, 28)]
        assert greys == [0, 64, 128, 255]


def test_cmyk_pictures_come_out_in_their_colours() -> None:
    for colour in (RED, BLUE, WHITE, (0, 0, 0)):
        data = saved(Image.new("RGB", (16, 16), colour).convert("CMYK"), "JPEG", quality=95)
        assert abs(colour_at(decode_rgb(data, LIMITS), 8, 8) - colour).max() <= 12


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_and_grey_pictures(mode: str) -> None:
    decoded = decode_rgb(saved(halves(WHITE, (0, 0, 0)).convert(mode), "PNG"), LIMITS)
    assert (decoded.getpixel((4, 8)), decoded.getpixel((28, 8))) == (WHITE, (0, 0, 0))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_a_file_that_ends_too_early_is_refused(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    data = saved(noise, kind)
    with pytest.raises(InvalidImage):
        decode(data[: len(data) // 2], LIMITS)


def test_bytes_behind_a_picture_do_not_matter() -> None:
    assert decode(saved(halves(), "PNG") + b"PK\x03\x04" + bytes(100), LIMITS).size == (32, 16)


@pytest.mark.parametrize(
    ("width", "height", "error"),
    [
        (10_000, 5_001, ImageTooLarge),
        (32_769, 1_000, ImageBadDimensions),
        (2_010, 10, ImageBadDimensions),
        (3, 100, ImageTooSmall),
        (0, 0, ImageTooSmall),
    ],
)
def test_dimensions_are_limited(width: int, height: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_dimensions(width, height, LIMITS)
    with pytest.raises(error):
        check_dimensions(height, width, LIMITS)


@pytest.mark.parametrize(("width", "height"), [(10_000, 5_000), (32_768, 1_000), (2_000, 10), (4, 4)])
def test_dimensions_at_the_limit_are_accepted(width: int, height: int) -> None:
    check_dimensions(width, height, LIMITS)


def test_a_bomb_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.new("1", (20_000, 8_900)), "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("its pixels were decoded"))
    with pytest.raises(ImageTooLarge):
        decode(data, LIMITS)
