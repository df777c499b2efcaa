"""Long blocks in parts that a reader of crops reads well, and a block's text over its lines."""

from __future__ import annotations

from collections.abc import Sequence

from .furigana import character_size
from .lines import TextLine

MOST_LINES = 4
"""Of a part: MangaOCR squashes a crop to 224 pixels; a fifth column of 20 characters leaves less than 12 for each."""
MOST_CHARACTERS = 40
"""Of a part, about."""


def split_lines(lines: Sequence[TextLine]) -> list[list[TextLine]]:
    """Lines of a block, in reading order, in groups of neighbours of about the same length.

    Args:
        lines: of one block; what they say need not be known.
    """
    total = sum(map(count_characters, lines))
    count = max(-(-len(lines) // MOST_LINES), round(total / MOST_CHARACTERS + 0.49) if total else 1, 1)
    parts: list[list[TextLine]] = [[]]
    passed = 0.0
    for line in lines:
        is_full = passed + count_characters(line) / 2 > total * len(parts) / count
        if parts[-1] and (is_full or len(parts[-1]) == MOST_LINES):
            parts.append([])
        parts[-1].append(line)
        passed += count_characters(line)
    return parts


def count_characters(line: TextLine) -> float:
    """How many characters a line has, as far as its shape shows."""
    return max(1.0, line.length / max(1.0, character_size(line)))


def spread(text: str, weights: Sequence[float]) -> list[str]:
    """A text cut into one piece for each line, as long as the line in proportion: where it was read as a whole."""
    total = sum(weights)
    ends, passed = [], 0.0
    for weight in weights:
        passed += weight
        ends.append(round(len(text) * passed / total))
    starts = [0, *ends[:-1]]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]
