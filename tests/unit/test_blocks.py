"""Blocks, furigana beside them, and the order of a page: pure functions on boxes."""

from __future__ import annotations

import math
import random

import pytest

from llm_vision.manga.blocks import Block, group
from llm_vision.manga.furigana import Furigana
from llm_vision.manga.lines import TextLine
from llm_vision.manga.page import form_blocks, read_by_lines
from llm_vision.manga.page_order import sort_blocks
from llm_vision.manga.splitting import MOST_CHARACTERS, MOST_LINES, count_characters, split_lines, spread

SIZE = 30.0


def box(left: float, top: float, right: float, bottom: float) -> tuple:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def column(text: str, right: float, top: float = 0, size: float = SIZE) -> TextLine:
    return TextLine(box(right - size, top, right, top + size * len(text)), text, 0.9, True)


def row(text: str, top: float, left: float = 0, size: float = SIZE) -> TextLine:
    return TextLine(box(left, top, left + size * len(text), top + size), text, 0.9, False)


def turned(line: TextLine, degrees: float) -> TextLine:
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    corners = tuple((x * cos - y * sin, x * sin + y * cos) for x, y in line.polygon)
    return TextLine(corners, line.text, line.confidence, line.vertical)  # type: ignore[arg-type]


def texts(lines: list[TextLine]) -> set[str]:
    """The blocks' texts, whatever the order in which the lines were found."""
    found = set()
    for seed in range(8):
        shuffled = lines[:]
        random.Random(seed).shuffle(shuffled)
        found.add(frozenset("/".join(line.text for line in block.lines) for block in group(shuffled)))
    assert len(found) == 1
    return set(found.pop())


def test_columns_of_a_bubble_are_one_block_read_from_the_right() -> None:
    assert texts([column("そんなはずは", 200), column("ない", 155), column("だろう", 110)]) == {
        "そんなはずは/ない/だろう"
    }


def test_rows_of_a_bubble_are_one_block_read_from_the_top() -> None:
    assert texts([row("電車に", 0), row("乗り遅れた", 45), row("ようだ", 90)]) == {"電車に/乗り遅れた/ようだ"}


@pytest.mark.parametrize("degrees", [-8, -3, 3, 8])
def test_tilted_text_stays_together_in_its_order(degrees: float) -> None:
    lines = [column("そんなはずはない", 200), column("だろうと思う", 155), column("けれど", 110)]
    assert texts([turned(line, degrees) for line in lines]) == {"そんなはずはない/だろうと思う/けれど"}


def test_bubbles_side_by_side_are_two_blocks() -> None:
    assert texts([column("右の吹き出し", 300), column("左の吹き出し", 300 - 3 * SIZE)]) == {
        "右の吹き出し",
        "左の吹き出し",
    }


def test_bubbles_above_each_other_are_two_blocks() -> None:
    assert texts([column("上の人", 100), column("下の人", 100, top=5 * SIZE)]) == {"上の人", "下の人"}


def test_bubbles_that_meet_at_a_corner_are_two_blocks() -> None:
    assert texts([column("右上にいる", 200), column("左下にいる", 165, top=5 * SIZE - 8)]) == {
        "右上にいる",
        "左下にいる",
    }


def test_a_column_in_two_pieces_is_one_line_of_the_block() -> None:
    found = texts([column("それは", 100), column("ちがう", 100, top=3.6 * SIZE), column("と思う", 55)])
    assert found == {"それは/ちがう/と思う"}


def test_a_shout_beside_a_whisper_is_a_block_of_its_own() -> None:
    assert texts([column("うおお", 200, size=80), column("なにごと", 110, size=25)]) == {"うおお", "なにごと"}


def test_a_lone_mark_goes_with_its_column() -> None:
    mark = TextLine(box(72, 160, 98, 186), "？", 0.9, False)
    assert texts([column("なんだと", 100, top=30), mark, column("言うのか", 55, top=30)]) == {"なんだと/？/言うのか"}


def test_furigana_are_no_lines_of_their_block_and_tell_what_they_read() -> None:
    small = TextLine(box(101, 0, 114, 60), "あした", 0.9, True)
    (block,) = group([column("明日は早く", 100), small, column("起きよう", 50)])
    assert [line.text for line in block.lines] == ["明日は早く", "起きよう"]
    assert [(ruby.base, ruby.ruby) for ruby in block.rubies] == [("明日", "あした")]
    kept = read_by_lines(block, "rapidocr", furigana=Furigana.KEEP)
    assert "あした" in kept.text
    assert read_by_lines(block, "rapidocr", furigana=Furigana.STRIP).rubies is None


def test_furigana_that_were_cut_off_a_column_are_never_text() -> None:
    cut_off = TextLine(box(101, 0, 118, 60), "あした", 0.9, True, is_ruby=True)
    (block,) = group([column("明日は早く", 100), cut_off, column("起きよう", 50)])
    assert [line.text for line in block.lines] == ["明日は早く", "起きよう"]
    assert [(ruby.base, ruby.ruby) for ruby in block.rubies] == [("明日", "あした")]
    assert group([cut_off]) == []


def test_small_text_of_one_bubble_is_no_furigana_of_another() -> None:
    large = [column("大きな声で話す", 400, size=50), column("人がここにいる", 320, size=50)]
    small = [column("小さな声もある", 120, size=24), column("内緒の話をする", 85, size=24)]
    assert texts([*large, *small]) == {"大きな声で話す/人がここにいる", "小さな声もある/内緒の話をする"}


def test_ruby_of_a_word_in_the_middle() -> None:
    small = TextLine(box(101, 62, 114, 118), "でんしゃ", 0.9, True)
    (block,) = group([column("この電車に乗る", 100), small])
    assert [(ruby.base, ruby.ruby) for ruby in block.rubies] == [("電車", "でんしゃ")]


def block_at(text: str, left: float, top: float, width: float = 60, height: float = 120) -> Block:
    return Block((TextLine(box(left, top, left + width, top + height), text, 0.9, True),), True)


def order(blocks: list[Block], panels: list[tuple], *, right_to_left: bool = True) -> str:
    found = set()
    for seed in range(8):
        shuffled = blocks[:]
        random.Random(seed).shuffle(shuffled)
        ordered = sort_blocks(shuffled, panels, right_to_left=right_to_left)
        found.add("".join(block.lines[0].text for block in ordered))
    assert len(found) == 1
    return found.pop()


def test_a_panel_is_read_from_its_upper_right_corner() -> None:
    blocks = [block_at("1", 300, 10), block_at("2", 60, 60), block_at("3", 200, 300)]
    assert order(blocks, []) == "123"
    assert order(blocks, [], right_to_left=False) == "213"


def test_panels_go_before_places() -> None:
    high, low = (0, 0, 200, 900), (220, 0, 400, 400)
    blocks = [block_at("1", 300, 200), block_at("2", 100, 20), block_at("3", 100, 700)]
    assert order(blocks, [low, high]) == "123"


def test_a_block_between_panels_goes_to_the_nearest() -> None:
    panels = [(300, 0, 500, 400), (0, 0, 200, 400)]
    blocks = [block_at("1", 360, 50), block_at("2", 225, 50, width=20), block_at("3", 50, 50)]
    assert order(blocks, panels) in {"123", "132"}


def test_bubbles_that_touch_are_still_in_a_row() -> None:
    assert order([block_at("1", 200, 0), block_at("2", 145, 30), block_at("3", 90, 60)], []) == "123"


def test_what_was_read_as_nothing_is_no_block() -> None:
    unread = TextLine(box(400, 0, 430, 90), "", 0.2, True)
    lines = [unread, column("ことば", 200), TextLine(box(0, 0, 700, 700), "力", 0.9, True)]
    found = form_blocks(lines, [], right_to_left=True, were_read=True)
    assert [block.lines[0].text for block in found] == ["ことば"]
    assert len(form_blocks(lines, [], right_to_left=True, were_read=False)) == 2, "a shape in the drawing never is"


@pytest.mark.parametrize("lengths", [[5], [10] * 3, [12, 9, 11, 10, 12, 8], [30, 30, 30], [3] * 9])
def test_long_blocks_are_cut_into_parts_that_can_be_read(lengths: list[int]) -> None:
    lines = [column("あ" * length, 1000 - 45 * number) for number, length in enumerate(lengths)]
    parts = split_lines(lines)
    assert [line for part in parts for line in part] == lines
    for part in parts:
        assert 1 <= len(part) <= MOST_LINES
        assert len(part) == 1 or sum(map(count_characters, part)) <= MOST_CHARACTERS


def test_a_short_block_stays_whole() -> None:
    assert len(split_lines([column("この道を", 200), column("まっすぐ行けば", 155), column("海に出るよ", 110)])) == 1


def test_a_text_is_spread_over_its_lines() -> None:
    assert spread("あいうえおかき", [3, 4]) == ["あいう", "えおかき"]
    assert "".join(spread("あいうえお", [1, 1, 1])) == "あいうえお"
    assert spread("", [2, 3]) == ["", ""]
