"""Which lines are furigana: small kana that tell how the characters beside them are read."""

from __future__ import annotations

from collections.abc import Sequence

from .lines import TextLine

LARGEST_SIZE = 0.75
"""Of the base line's characters. Furigana are set at half size (JIS X 4051); a detector's margin makes small lines look
larger, and readings of long words are spaced out."""
SHORT = 2
"""Characters up to which a line's length says little about their size, most of it being the detector's margin."""
TOUCHING = 0.1
"""Gap, in sizes of the base line, at which a short line is furigana although its box is not much smaller."""
FARTHEST = 0.6
"""Gap to the base line, in sizes of the base line: furigana touch it, the next line is half a size away or more."""
LEAST_BESIDE = 0.6
"""Share of a furigana line's length that lies beside its base line."""
MOST_KANJI = 0.4
"""Share of kanji in its text: tiny kana are often read as digits or letters, rarely as kanji."""
LONGEST = 1.05
"""Of the base line's length: a longer line is not furigana of it."""


def split_furigana(lines: Sequence[TextLine]) -> tuple[list[TextLine], list[TextLine]]:
    """Base lines and furigana lines, each in the order in which they came."""
    furigana = [line for line in lines if any(is_furigana(line, base) for base in lines if base is not line)]
    return [line for line in lines if line not in furigana], furigana


def is_furigana(line: TextLine, base: TextLine) -> bool:
    """Whether a line tells how the base line is read: right of a column, above a row."""
    if line.vertical != base.vertical and len(line.text) > 1:
        return False
    if line.length > LONGEST * base.length or _kanji_share(line.text) > MOST_KANJI:
        return False
    if base.vertical:
        gap = line.left - base.right
        is_on_its_side = line.center[0] > base.center[0]
        beside = min(line.bottom, base.bottom) - max(line.top, base.top)
        extent = line.bottom - line.top
    else:
        gap = base.top - line.bottom
        is_on_its_side = line.center[1] < base.center[1]
        beside = min(line.right, base.right) - max(line.left, base.left)
        extent = line.right - line.left
    is_small = _character_size(line) <= LARGEST_SIZE * _character_size(base)
    is_short_and_touches = len(line.text) <= SHORT and line.size < base.size and gap <= TOUCHING * base.size
    is_near = gap <= FARTHEST * base.size and beside >= LEAST_BESIDE * extent
    return is_on_its_side and is_near and (is_small or is_short_and_touches)


def _character_size(line: TextLine) -> float:
    """Pixels from one character to the next, at most the line's own size."""
    return min(line.size, line.length / max(1, len(line.text)))


def _kanji_share(text: str) -> float:
    return sum("一" <= character <= "鿿" for character in text) / max(1, len(text))
