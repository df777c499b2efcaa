"""Main colours of pictures and their names."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage.color import deltaE_ciede2000, rgb2lab

from fixtures.packages import SCIKIT_IMAGE
from llm_vision.services.analysis.cielab import difference, to_lab
from llm_vision.services.analysis.colors import find_main_colors


def name_of(color: str) -> str:
    (only,) = find_main_colors(Image.new("RGB", (20, 20), color))
    return only.name


@pytest.mark.parametrize(
    ("color", "name"),
    [
        ("#ff0000", "red"),
        ("#2f4f4f", "dark slate gray"),
        ("#fafad2", "light goldenrod yellow"),
        ("#808080", "gray"),
        ("#00ffff", "cyan"),
        ("#15243e", "midnight blue"),
        ("#103f13", "dark green"),
        ("#7e6352", "sienna"),
    ],
)
def test_color_is_named_in_readable_words(color: str, name: str) -> None:
    assert name_of(color) == name


@pytest.mark.parametrize(("gray", "name"), [("#434343", "dim gray"), ("#353535", "black"), ("#fdfdfd", "white")])
def test_gray_is_never_given_a_name_with_a_hue(gray: str, name: str) -> None:
    assert name_of(gray) == name


def test_shares_are_of_the_area_and_largest_first() -> None:
    flag = Image.new("RGB", (300, 200), "#ffffff")
    draw = ImageDraw.Draw(flag)
    draw.rectangle((0, 0, 299, 99), fill="#0000ff")
    draw.rectangle((0, 100, 59, 199), fill="#ff0000")
    found = find_main_colors(flag)
    assert [color.name for color in found] == ["blue", "white", "red"]
    assert [color.share for color in found] == pytest.approx([0.5, 0.4, 0.1], abs=0.02)
    assert [color.hex for color in found] == ["#0000ff", "#ffffff", "#ff0000"]


def test_colors_of_one_name_are_told_once() -> None:
    two_reds = Image.new("RGB", (100, 100), "#fe0000")
    ImageDraw.Draw(two_reds).rectangle((0, 0, 99, 29), fill="#f50303")
    (only,) = find_main_colors(two_reds)
    assert (only.name, only.hex) == ("red", "#fe0000")
    assert only.share == pytest.approx(1)


@pytest.mark.parametrize("name", ["coffee.png", "color.png", "camera.png", "logo.png", "horse.png"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_shares_of_the_told_colors_sum_to_one(name: str, count: int) -> None:
    found = find_main_colors(Image.open(SCIKIT_IMAGE / name), count)
    assert 1 <= len(found) <= count
    assert sum(color.share for color in found) == pytest.approx(1)
    assert len({color.name for color in found}) == len(found)


def test_screentone_is_black_and_white_as_printed_not_gray() -> None:
    tone = Image.new("L", (1200, 1200), 255)
    tone.putdata([0 if (x // 3 + y // 3) % 2 else 255 for y in range(1200) for x in range(1200)])
    assert {color.name for color in find_main_colors(tone)} == {"black", "white"}


def test_one_pixel_and_thin_strips_have_colors_too() -> None:
    assert find_main_colors(Image.new("RGB", (1, 1), "red"))[0].name == "red"
    assert find_main_colors(Image.new("RGB", (5000, 1), "red"))[0].name == "red"


def test_difference_is_ciede2000_as_scikit_image_computes_it() -> None:
    rng = np.random.default_rng(2000)
    for one, other in rng.integers(0, 256, (500, 2, 3)).tolist():
        labs = to_lab(one), to_lab(other)
        assert difference(*labs) == pytest.approx(float(deltaE_ciede2000(*np.array(labs))))
        assert to_lab(one) == pytest.approx(rgb2lab(np.array([[one]], np.uint8))[0, 0], abs=0.01)
