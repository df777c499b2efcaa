"""Direction, furigana, order and joining of lines: pure functions on boxes."""

from __future__ import annotations

import random

import pytest

from llm_vision.manga.furigana import split_furigana
from llm_vision.manga.lines import TextLine, find_directions
from llm_vision.manga.ordering import sort_lines
from llm_vision.manga.text import join_lines, to_japanese


def box(left: float, top: float, right: float, bottom: float) -> tuple:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def column(text: str, right: float, top: float = 0, size: float = 30) -> TextLine:
    return TextLine(box(right - size, top, right, top + size * len(text)), text, 0.9, True)


def row(text: str, top: float, left: float = 0, size: float = 30) -> TextLine:
    return TextLine(box(left, top, left + size * len(text), top + size), text, 0.9, False)


def read(lines: list[TextLine]) -> str:
    """The text in reading order, which must not depend on the order of detection."""
    texts = set()
    for seed in range(10):
        shuffled = lines[:]
        random.Random(seed).shuffle(shuffled)
        texts.add("/".join(line.text for line in sort_lines(shuffled)))
    assert len(texts) == 1
    return texts.pop()


def test_columns_run_from_the_right_whatever_their_height_and_start() -> None:
    assert read([column("ああああ", 200), column("いい", 150, top=10), column("うううううう", 100, top=25)]) == (
        "ああああ/いい/うううううう"
    )


def test_rows_run_from_the_top() -> None:
    assert read([row("ああ", 0), row("いいいい", 45), row("う", 90, left=20)]) == "ああ/いいいい/う"


def test_pieces_of_one_column_stay_together() -> None:
    assert read([column("ああ", 200), column("いい", 202, top=75), column("ううううう", 150)]) == "ああ/いい/ううううう"


def test_pieces_of_one_row_stay_together() -> None:
    assert read([row("ああ", 0), row("いい", 3, left=75), row("うううう", 40)]) == "ああ/いい/うううう"


def test_two_groups_on_top_of_each_other_are_read_one_after_the_other() -> None:
    upper = [column("ああ", 200), column("いい", 150)]
    lower = [column("うう", 210, top=100), column("ええ", 160, top=100)]
    assert read(upper + lower) == "ああ/いい/うう/ええ"


def test_bubbles_side_by_side_are_read_from_the_right() -> None:
    right = [column("ああああ", 500), column("いい", 455)]
    left = [column("うう", 200, top=20), column("ええええ", 155, top=20)]
    assert read(right + left) == "ああああ/いい/うう/ええええ"


def test_strips_are_read_from_the_left_where_the_language_does() -> None:
    lines = [row("left", 0), row("right", 0, left=400)]
    assert [line.text for line in sort_lines(lines, right_to_left=False)] == ["left", "right"]
    assert [line.text for line in sort_lines(lines)] == ["right", "left"]


def test_a_tilted_column_keeps_its_place() -> None:
    tilted = TextLine(((100, 0), (130, 4), (116, 154), (86, 150)), "ななめ", 0.9, True)
    assert read([tilted, column("まえ", 180), column("あと", 75)]) == "まえ/ななめ/あと"
    assert tilted.size == pytest.approx(30.3, abs=0.2)


def test_nothing_and_one_line_are_in_order() -> None:
    assert sort_lines([]) == []
    assert read([row("ひとつ", 0)]) == "ひとつ"


def test_a_squarish_box_goes_with_the_others() -> None:
    square, tall, wide = box(0, 0, 30, 32), box(0, 0, 30, 200), box(0, 0, 200, 30)
    assert find_directions([square, tall]) == [True, True]
    assert find_directions([square, wide]) == [False, False]
    assert find_directions([square]) == [True]
    assert find_directions([tall, wide, box(0, 0, 90, 30)]) == [True, False, False]


BASE = column("先生の質問", 100, size=30)


@pytest.mark.parametrize(
    "line",
    [
        column("せんせい", 116, top=2, size=15),
        column("しつもん", 120, top=88, size=16),
        column("せ", 118, top=5, size=20),
        column("98", 116, top=5, size=15),
    ],
    ids=lambda line: line.text,
)
def test_small_kana_right_of_a_column_are_furigana(line: TextLine) -> None:
    assert split_furigana([BASE, line]) == ([BASE], [line])


@pytest.mark.parametrize(
    "line",
    [
        column("となりの行", 145, size=30),
        column("ちいさい", 60, size=15),
        column("ちいさい", 170, size=15),
        column("ちいさい", 116, top=160, size=15),
        column("小字漢字", 116, top=2, size=15),
        column("ここ", 145, size=30),
    ],
    ids=lambda line: line.text,
)
def test_other_lines_are_not_furigana(line: TextLine) -> None:
    base, furigana = split_furigana([BASE, line])
    assert base == [BASE, line]
    assert furigana == []


def test_a_column_beside_one_whose_box_is_too_wide_is_no_furigana() -> None:
    swollen = TextLine(box(57, 17, 102, 104), "飲器に", 0.9, True)  # with its furigana inside, and a character missed
    others = [
        TextLine(box(40, 21, 67, 116), "こんなにも", 0.9, True),
        TextLine(box(18, 21, 46, 151), "感激するなんて", 0.9, True),
    ]
    beside = TextLine(box(87, 23, 112, 98), "たかだか", 0.9, True)
    assert split_furigana([swollen, beside, *others])[1] == []


def test_small_kana_above_a_row_are_furigana_and_below_are_not() -> None:
    base = row("先生の質問", 40)
    above, below = row("せんせい", 24, size=15), row("せんせい", 72, size=15)
    assert split_furigana([above, base]) == ([base], [above])
    assert split_furigana([base, below]) == ([base, below], [])


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["明日は", "早い"], "明日は早い"),
        (["The quick", "fox"], "The quick fox"),
        (["これは", "pen", "です"], "これはpenです"),
        (["Wait…", "what?"], "Wait…what?"),
        (["", "あ", " "], "あ"),
        ([], ""),
    ],
)
def test_lines_are_joined_by_script(lines: list[str], text: str) -> None:
    assert join_lines(lines) == text


@pytest.mark.parametrize(
    ("read_as", "written"),
    [
        ("沈默の价值", "沈黙の价値"),
        ("コ|ヒ|", "コーヒー"),
        ("すご一い", "すご一い"),
        ("ハンバ一ガ一", "ハンバーガー"),
        ("ドア一枚", "ドア一枚"),
        ("一日一時間", "一日一時間"),
        ("ラーメンー", "ラーメンー"),
        ("なに!?", "なに！？"),
        ("まさか...", "まさか…"),
        ("まさか・・・", "まさか…"),
        ("そう……", "そう…"),
        ("ジョン・スミス", "ジョン・スミス"),
        ("龍が國へ", "龍が国へ"),
        ("Hello, world!", "Hello, world!"),
        ("あ い", "あい"),
    ],
)
def test_readings_are_written_as_in_japan(read_as: str, written: str) -> None:
    import opencc

    assert to_japanese(read_as, opencc.OpenCC("t2jp").convert) == written
