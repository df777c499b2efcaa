"""Which lines are furigana: small kana that say how the characters beside them are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .lines import TextLine, axes, extent

LARGEST_SIZE = 0.75
"""Of the base line's characters. Furigana are set at half size (JIS X 4051); a detector's margin makes small lines look
larger, and readings of long words are spaced out."""
LARGEST_BOX = 0.92
"""Of the base line's size: what the box of any furigana may measure, margin included."""
SMALLER = 0.8
"""Of the picture's typical line: one whose box and whose characters are both larger than this is text itself, however
wide its neighbour's box became, for instance by furigana inside it."""
SHORT = 2
"""Characters up to which a line's length says little about their size, most of it being the detector's margin."""
LARGEST_SHORT = 0.85
"""Of the base line's size: what a short line's box may measure, being mostly margin. A short column of the text itself
has the size of its neighbours."""
FARTHEST = 0.6
"""Gap to the base line, in sizes of the base line: furigana touch it, the next line is half a size away or more."""
LEAST_BESIDE = 0.6
"""Share of a furigana line's length that lies beside its base line."""
MOST_KANJI = 0.4
"""Share of kanji in its text: tiny kana are often read as digits or letters, rarely as kanji."""
LONGEST = 1.05
"""Of the base line's length: a longer line is not furigana of it."""


class Furigana(StrEnum):
    """What happens to the small kana beside kanji."""

    STRIP = "strip"
    KEEP = "keep"
    RUBY = "ruby"


@dataclass(frozen=True)
class Ruby:
    """How some characters are read."""

    base: str
    ruby: str


def pair_rubies(lines: Sequence[TextLine], furigana: Sequence[TextLine]) -> list[Ruby]:
    """Each furigana line with the characters beside it, in the order of the text.

    Args:
        lines: of one block, read, in reading order.
        furigana: of the same block.
    """
    rubies: list[tuple[int, int, Ruby]] = []
    for small in furigana:
        gaps = {
            number: gap
            for number, line in enumerate(lines)
            if line.text and (gap := _measure_gap(small, line)) is not None
            if small.is_ruby or is_furigana(small, line)
        }
        if small.text and gaps:
            number = min(gaps, key=lambda number: abs(gaps[number]))
            base = lines[number]
            start, end = _find_characters_beside(small, base)
            rubies.append((number, start, Ruby(base.text[start:end], small.text)))
    return [ruby for _, _, ruby in sorted(rubies, key=lambda entry: entry[:2])]


def _find_characters_beside(small: TextLine, base: TextLine) -> tuple[int, int]:
    """First and behind the last of the base line's characters whose middles lie beside it, of kanji where there are."""
    along, _ = axes(base)
    low, high = extent(base, along)
    small_low, small_high = extent(small, along)
    pitch = (high - low) / len(base.text)
    beside = [number for number in range(len(base.text)) if small_low <= low + (number + 0.5) * pitch <= small_high]
    middle = ((small_low + small_high) / 2 - low) / pitch
    start, end = (beside[0], beside[-1] + 1) if beside else (int(middle), int(middle) + 1)
    kanji = [number for number in range(start, end) if _is_kanji(base.text[number])]
    if kanji:
        start, end = kanji[0], kanji[-1] + 1
    return max(0, min(start, len(base.text) - 1)), max(1, end)


def split_furigana(lines: Sequence[TextLine]) -> tuple[list[TextLine], list[TextLine]]:
    """Base lines and furigana lines, each in the order in which they came."""
    box = _find_typical(lines, lambda line: line.size)
    character = _find_typical(lines, character_size)
    small = [line for line in lines if line.size <= SMALLER * box or character_size(line) <= SMALLER * character]
    furigana = [line for line in small if any(is_furigana(line, base) for base in lines if base is not line)]
    return [line for line in lines if line not in furigana], furigana


def _find_typical(lines: Sequence[TextLine], measure: Callable[[TextLine], float]) -> float:
    """The value that half of the text, by its length, does not exceed; 0 without lines."""
    half, passed = sum(line.length for line in lines) / 2, 0.0
    for line in sorted(lines, key=measure):
        passed += line.length
        if passed >= half:
            return measure(line)
    return 0.0


def is_furigana(line: TextLine, base: TextLine) -> bool:
    """Whether a line says how the base line is read: right of a column, above a row."""
    if line.vertical != base.vertical and len(line.text) > 1:
        return False
    if line.length > LONGEST * base.length or _kanji_share(line.text) > MOST_KANJI:
        return False
    gap = _measure_gap(line, base)
    return gap is not None and gap <= FARTHEST * base.size and _is_small(line, base, touches=gap <= 0)


def _measure_gap(line: TextLine, base: TextLine) -> float | None:
    """Pixels between the base line and a line that lies along it where furigana stand; None when it does not."""
    if base.vertical:
        gap, is_on_its_side = line.left - base.right, line.center[0] > base.center[0]
        beside, extent = min(line.bottom, base.bottom) - max(line.top, base.top), line.bottom - line.top
    else:
        gap, is_on_its_side = base.top - line.bottom, line.center[1] < base.center[1]
        beside, extent = min(line.right, base.right) - max(line.left, base.left), line.right - line.left
    return gap if is_on_its_side and beside >= LEAST_BESIDE * extent else None


def _is_small(line: TextLine, base: TextLine, *, touches: bool) -> bool:
    """Whether a line is set in a smaller size, as its box or the distance of its characters shows."""
    box = line.size / base.size
    if len(line.text) <= SHORT and touches:
        return box <= LARGEST_SHORT
    pitch = character_size(line) / character_size(base)
    return box <= LARGEST_BOX and min(box, pitch) <= LARGEST_SIZE


def character_size(line: TextLine) -> float:
    """Pixels from one character to the next, at most the line's own size: furigana inside its box make that wider."""
    return min(line.size, line.length / max(1, len(line.text)))


def _kanji_share(text: str) -> float:
    return sum(map(_is_kanji, text)) / max(1, len(text))


def _is_kanji(character: str) -> bool:
    return "一" <= character <= "鿿" or character == "々"
