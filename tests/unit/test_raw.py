"""Large pictures are reduced strip by strip to what the whole picture would give."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fixtures.pixels import raw_image
from llm_vision.images.decode import ImageLimits, limits_for
from llm_vision.images.raw import RawImage, cut_strips, reduce_picture, to_pillow


def gradient(width: int, height: int) -> Image.Image:
    across = Image.linear_gradient("L").resize((width, height))
    down = Image.linear_gradient("L").rotate(90).resize((width, height))
    return Image.merge("RGB", (across, down, across))


def test_a_picture_of_usual_size_stays_itself() -> None:
    picture = raw_image(gradient(2000, 3000))
    assert reduce_picture(picture) is picture


@pytest.mark.parametrize(
    ("size", "factor"), [((4000, 3000), 2), ((4001, 2503), 2), ((9000, 5003), 3), ((800, 20_000), 2)]
)
def test_a_large_picture_is_reduced_as_the_whole_of_it_would_be(size: tuple[int, int], factor: int) -> None:
    picture = gradient(*size)
    small = to_pillow(reduce_picture(raw_image(picture)))
    whole = picture.crop((0, 0, size[0] // factor * factor, size[1] // factor * factor)).reduce(factor)
    assert small.size == whole.size
    assert np.abs(np.asarray(small, dtype=int) - np.asarray(whole, dtype=int)).max() <= 2


@pytest.mark.parametrize("multiple", [1, 2, 3, 7])
def test_strips_cover_a_picture_without_gap_or_overlap(multiple: int) -> None:
    found = list(cut_strips(5000, 3001, multiple))
    assert [top for top, _ in found] == [0, *(bottom for _, bottom in found[:-1])]
    assert found[-1][1] == 3001
    assert all((bottom - top) % multiple == 0 for top, bottom in found[:-1])


def test_pixels_that_are_taken_are_gone() -> None:
    picture = RawImage(1, 1, b"abc")
    assert picture.take() == b"abc"
    assert picture.data == b""


def test_webp_may_have_fewer_pixels_since_its_decoder_needs_more_memory() -> None:
    limits = ImageLimits(max_pixels=50_000_000)
    assert limits_for("WEBP", limits).max_pixels == 31_250_000
    assert limits_for("PNG", limits) == limits
