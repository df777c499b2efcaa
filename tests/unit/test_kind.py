"""The rules by which kinds of pictures are told apart."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from fixtures.packages import SCIKIT_IMAGE
from fixtures.scenes import draw_comic, draw_drawing
from fixtures.scenes_documents import draw_document
from llm_vision.manga.lines import TextLine
from llm_vision.services.analysis.kind import PictureKind, measure, recognize_kind

WHITE_PAGE = Image.new("RGB", (1000, 1400), "white")


def photo(name: str) -> Image.Image:
    return Image.open(SCIKIT_IMAGE / name).convert("RGB")


def text_lines(count: int, *, width: float = 800, height: float = 25, vertical: bool = False) -> list[TextLine]:
    lines = []
    for index in range(count):
        corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
        shifted = [(x + 50, y + 50 + index * 40) for x, y in corners]
        polygon = tuple((y, x) for x, y in shifted) if vertical else tuple(shifted)
        lines.append(TextLine(polygon, "text", 1.0, vertical))
    return lines


@pytest.mark.parametrize("name", ["coffee.png", "camera.png", "rocket.jpg", "chelsea.png", "hubble_deep_field.jpg"])
def test_photo_is_told_by_its_pixels_alone(name: str) -> None:
    assert recognize_kind(photo(name)) is PictureKind.PHOTO


@pytest.mark.parametrize("size", [(90, 60), (600, 400), (4000, 2667)])
def test_photo_stays_a_photo_at_any_size(size: tuple[int, int]) -> None:
    assert recognize_kind(photo("coffee.png").resize(size)) is PictureKind.PHOTO


def test_photographed_thing_cut_out_on_white_is_a_photo() -> None:
    sheet = Image.new("RGB", (900, 600), "white")
    sheet.paste(photo("chelsea.png"), (200, 150))
    assert measure(sheet).flat > 0.5
    assert recognize_kind(sheet) is PictureKind.PHOTO


@pytest.mark.parametrize("seed", range(6))
def test_panels_make_a_comic_page_and_flat_colours_a_drawing(seed: int) -> None:
    assert recognize_kind(draw_comic(seed)) is PictureKind.COMIC
    assert recognize_kind(draw_drawing(seed)) is PictureKind.DRAWING


def test_grain_of_a_scanner_does_not_make_a_printed_page_a_photo() -> None:
    page = draw_comic(9)
    grainy = Image.blend(page, Image.effect_noise(page.size, 80).convert("RGB"), 0.08)
    assert measure(grainy).flat < 0.1
    assert recognize_kind(grainy) is PictureKind.COMIC


def test_much_running_text_makes_a_document() -> None:
    assert recognize_kind(WHITE_PAGE, text_lines(20)) is PictureKind.DOCUMENT
    assert recognize_kind(draw_document(0), text_lines(20)) is PictureKind.DOCUMENT


def test_vertical_text_without_panels_is_a_novel_not_a_comic() -> None:
    assert recognize_kind(WHITE_PAGE, text_lines(20, vertical=True)) is PictureKind.DOCUMENT


def test_vertical_text_in_panels_is_a_comic() -> None:
    page = draw_comic(3)
    assert recognize_kind(page, text_lines(20, width=400, vertical=True)) is PictureKind.COMIC


@pytest.mark.parametrize(
    "lines",
    [text_lines(2, width=900, height=100), text_lines(8, width=60), text_lines(4, width=400, height=200)],
    ids=["few", "short", "huge"],
)
def test_a_little_text_does_not_make_a_drawing_a_document(lines: list[TextLine]) -> None:
    assert recognize_kind(WHITE_PAGE, lines) is PictureKind.DRAWING


def test_street_sign_does_not_make_a_photo_a_document_but_a_photographed_letter_does() -> None:
    street = photo("coffee.png").resize((1000, 1400))
    assert recognize_kind(street, text_lines(4, height=60)) is PictureKind.PHOTO
    assert recognize_kind(street, text_lines(30)) is PictureKind.DOCUMENT


def test_classifier_tells_a_web_site_and_a_comic_book() -> None:
    dark_window = Image.new("RGB", (800, 600), (30, 30, 30))
    assert recognize_kind(dark_window, labels={"web site": 0.3, "menu": 0.1}) is PictureKind.DOCUMENT
    assert recognize_kind(dark_window, labels={"comic book": 0.3}) is PictureKind.COMIC
    assert recognize_kind(dark_window, labels={"web site": 0.1, "comic book": 0.1}) is PictureKind.DRAWING


def test_framed_page_needs_more_than_a_hint_to_be_a_web_site() -> None:
    page = draw_comic(3)
    assert measure(page).is_framed
    assert recognize_kind(page, labels={"web site": 0.3}) is PictureKind.COMIC
    assert recognize_kind(page, labels={"web site": 0.6}) is PictureKind.DOCUMENT


def test_boxes_on_much_white_are_a_diagram_not_panels() -> None:
    diagram = Image.new("RGB", (1000, 1000), "white")
    draw = ImageDraw.Draw(diagram)
    for place in range(100, 1000, 200):
        draw.line((place, 0, place, 1000), fill="black", width=4)
        draw.line((0, place, 1000, place), fill="black", width=4)
    assert measure(diagram).frame_lines >= 10
    assert recognize_kind(diagram) is PictureKind.DRAWING


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (3000, 2), (512, 512)])
def test_plain_picture_of_any_shape_is_a_drawing(size: tuple[int, int]) -> None:
    assert recognize_kind(Image.new("RGB", size, "teal")) is PictureKind.DRAWING
