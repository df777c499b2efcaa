"""Tiles and their seams, panels, furigana inside a line's box: without any network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fixtures.comic_pages import draw_comic_page
from fixtures.drawing import block_size, draw_block
from llm_vision.models.families.rapidocr.line_ink import cut, ink_spans, ruby_strip
from llm_vision.models.families.rapidocr.panels import find_panels
from llm_vision.models.families.rapidocr.polygons import Polygon
from llm_vision.models.families.rapidocr.tiles import join_tiles, tiles


def polygon(left: float, top: float, right: float, bottom: float) -> Polygon:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def boxes(polygons: list[Polygon]) -> list[tuple[float, ...]]:
    return sorted((*found.min(axis=0), *found.max(axis=0)) for found in polygons)


@pytest.mark.parametrize(
    ("size", "count"), [((1420, 1000), 1), ((2100, 1000), 1), ((1000, 1000), 1), ((1420, 2000), 2)]
)
def test_pages_are_one_tile_and_facing_pages_two(size: tuple[int, int], count: int) -> None:
    assert len(tiles(*size)) == count


@pytest.mark.parametrize("length", [1761, 5000, 20000])
@pytest.mark.parametrize("is_tall", [True, False])
def test_a_long_strip_is_covered_with_overlap(length: int, is_tall: bool) -> None:
    found = tiles(length, 800) if is_tall else tiles(800, length)
    assert (found[0].start, found[-1].end) == (0, length)
    for one, following in itertools.pairwise(found):
        assert one.end - following.start >= 400
        assert one.end - one.start == 1280


def test_no_line_is_lost_or_doubled_at_a_seam() -> None:
    first, second = tiles(2100, 800)[:2]
    seen_twice = polygon(100, second.start + 50, 140, second.start + 200)
    moved_a_little = seen_twice + np.array([1, -2], np.float32)
    cut_below = polygon(300, first.end - 60, 340, first.end)
    whole = polygon(300, first.end - 60, 340, first.end + 150)
    above, below = polygon(500, 10, 540, 90), polygon(500, 1900, 540, 2000)
    found = join_tiles([(first, [above, seen_twice, cut_below]), (second, [moved_a_little, whole, below])], 2100)
    assert len(found) == 4
    assert boxes([whole])[0] in boxes(found)


def test_a_line_that_both_tiles_cut_is_put_together() -> None:
    first, second = tiles(2100, 800)[:2]
    upper = polygon(300, second.start - 100, 340, first.end)
    lower = polygon(302, second.start, 341, first.end + 100)
    (found,) = join_tiles([(first, [upper]), (second, [lower])], 2100)
    assert boxes([found]) == [(300, second.start - 100, 341, first.end + 100)]


def test_overlapping_lines_of_one_tile_stay_two() -> None:
    (tile,) = tiles(1400, 1000)
    assert len(join_tiles([(tile, [polygon(0, 0, 60, 200), polygon(30, 0, 90, 200)])], 1400)) == 2


def panels_of(picture: Image.Image, *, right_to_left: bool = True) -> list[tuple[int, int, int, int]]:
    return find_panels(np.asarray(picture.convert("RGB")), right_to_left=right_to_left)


def drawn_panels(*frames: tuple[int, int, int, int], paper: str = "white") -> Image.Image:
    page = Image.new("RGB", (1000, 1400), paper)
    draw = ImageDraw.Draw(page)
    for frame in frames:
        draw.rectangle(frame, outline="white" if paper == "black" else "black", width=4)
    return page


GRID = ((520, 40, 960, 500), (40, 40, 480, 500), (40, 540, 960, 960), (520, 1000, 960, 1360), (40, 1000, 480, 1360))


@pytest.mark.parametrize("paper", ["white", "black"])
def test_panels_come_in_reading_order(paper: str) -> None:
    found = panels_of(drawn_panels(*GRID, paper=paper))
    assert len(found) == 5
    for (left, top, right, bottom), frame in zip(found, GRID, strict=True):
        assert np.allclose((left, top, right, bottom), frame, atol=4)


def test_a_bubble_that_crosses_a_gutter_does_not_join_panels() -> None:
    page = drawn_panels(*GRID)
    ImageDraw.Draw(page).ellipse((600, 450, 760, 600), fill="white", outline="black", width=3)
    assert len(panels_of(page)) == 5


def test_facing_pages_are_read_one_after_the_other() -> None:
    page = Image.new("RGB", (2000, 1400), "white")
    page.paste(drawn_panels(*GRID), (0, 0))
    page.paste(drawn_panels(*GRID), (1000, 0))
    found = panels_of(page)
    assert [left >= 1000 for left, *_ in found] == [True] * 5 + [False] * 5
    assert [left >= 1000 for left, *_ in panels_of(page, right_to_left=False)] == [False] * 5 + [True] * 5


def test_a_page_without_gutters_is_one_panel() -> None:
    assert len(panels_of(Image.effect_noise((600, 900), 90))) == 1
    assert panels_of(Image.new("RGB", (600, 900), "white")) == []


@pytest.mark.parametrize("kind", ["manga", "spread", "comic", "strip"])
@pytest.mark.parametrize("seed", range(3))
def test_blocks_of_drawn_pages_lie_in_panels_in_their_order(kind: str, seed: int) -> None:
    page = draw_comic_page(kind, seed)
    panels = panels_of(page.picture, right_to_left=kind in ("manga", "spread"))
    owners = []
    for block in page.blocks:
        x, y = (block.box[0] + block.box[2]) / 2, (block.box[1] + block.box[3]) / 2
        owners.append(
            next(n for n, panel in enumerate(panels) if panel[0] <= x < panel[2] and panel[1] <= y < panel[3])
        )
    assert owners == sorted(owners)


def line(text: str, size: int, *, vertical: bool, furigana: dict[str, str] | None = None) -> Image.Image:
    """A line in its box as a detector cuts it out, with what stands beside it."""
    width, height = block_size([text], size, vertical=vertical)
    canvas = Image.new("RGB", (width + 4, height + 4), "white")
    draw_block(canvas, [text], (2, 2), size, vertical=vertical, furigana=furigana)
    return canvas.convert("L")


@pytest.mark.parametrize("size", [26, 32, 48])
@pytest.mark.parametrize("vertical", [True, False])
def test_furigana_in_a_lines_box_are_told_apart(size: int, vertical: bool) -> None:
    with_furigana = line("明日は早く", size, vertical=vertical, furigana={"明日": "あした", "早": "はや"})
    place = ruby_strip(np.asarray(with_furigana), vertical=vertical)
    assert place is not None
    assert 0.55 < (place if vertical else 1 - place) < 0.8


@pytest.mark.parametrize(
    "text", ["明日は早く起きよう", "いいいい", "ハハハハ", "川川川", "ここにいる", "（どうして）", "ー〜ー〜"]
)
@pytest.mark.parametrize("vertical", [True, False])
def test_a_line_without_furigana_stays_whole(text: str, vertical: bool) -> None:
    assert ruby_strip(np.asarray(line(text, 32, vertical=vertical)), vertical=vertical) is None


def test_a_cut_line_keeps_its_corners() -> None:
    tilted = np.array([[10, 0], [50, 4], [40, 104], [0, 100]], np.float32)
    left, right = cut(tilted, 0.5, vertical=True)
    assert np.allclose(left[0], tilted[0])
    assert np.allclose(right[2], tilted[2])
    assert np.allclose(left[1], right[0])
    upper, lower = cut(tilted, 0.25, vertical=False)
    assert np.allclose(upper[3], lower[0])
    assert np.allclose(upper[3], [7.5, 25])


def test_the_ink_of_a_line_has_no_margin() -> None:
    canvas = np.full((100, 50), 255, np.uint8)
    canvas[20:80, 10:40] = 0
    canvas[30:70, 15:35] = 255
    assert ink_spans(canvas) == ((0.2, 0.8), (0.2, 0.8))
    assert ink_spans(np.full((100, 50), 128, np.uint8)) is None
