"""What a file asks of its decoder is counted before anything is decoded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from fixtures.complex_pictures import FINE, TIFF, TOO_COMPLEX
from fixtures.encoding import saved
from fixtures.pages import draw_page
from llm_vision.errors import ImageTooComplex
from llm_vision.images.complexity import check_complexity
from llm_vision.images.decode import ImageLimits, decode, sniff_format


@pytest.mark.parametrize("name", TOO_COMPLEX)
def test_what_costs_more_than_its_pixels_is_refused_unread(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("a library has looked at it"))
    with pytest.raises(ImageTooComplex):
        decode(TOO_COMPLEX[name], ImageLimits())


def test_a_tiff_of_too_many_strips_is_refused_and_a_usual_one_read() -> None:
    limits = ImageLimits(allow_tiff=True)
    with pytest.raises(ImageTooComplex):
        decode(TIFF, limits)
    page = draw_page()[0]
    for options in ({}, {"compression": "tiff_lzw"}):
        assert decode(saved(page, "TIFF", **options), limits).size == page.size


@pytest.mark.parametrize("name", FINE)
def test_what_encoders_write_is_read(name: str) -> None:
    assert decode(FINE[name], ImageLimits()).getpixel((0, 0)) in (0, (0, 0, 0))


@pytest.mark.parametrize("quality", [5, 75, 100])
def test_a_progressive_page_is_read(quality: int) -> None:
    data = saved(draw_page()[0], "JPEG", progressive=True, quality=quality)
    assert decode(data, ImageLimits()).size == draw_page()[0].size


def test_pictures_that_packages_bring_are_fine() -> None:
    specs = [find_spec(package) for package in ("skimage", "sklearn", "matplotlib", "manga_ocr")]
    folders = [Path(folder) for spec in specs if spec for folder in spec.submodule_search_locations or []]
    files = [file for folder in folders for kind in ("jpg", "gif", "png") for file in folder.rglob(f"*.{kind}")]
    assert files
    for file in files:
        data = file.read_bytes()
        check_complexity(sniff_format(data), data)


@pytest.mark.parametrize("name", ["jpeg_scans", "jpeg_exif", "png_pixels", "gif_comments"])
def test_a_file_that_ends_anywhere_is_counted_to_its_end(name: str) -> None:
    data = FINE[name][:20_000]
    for end in range(12, len(data), 97):
        check_complexity(sniff_format(data), data[:end])
