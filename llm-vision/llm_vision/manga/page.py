"""A page that was read: its blocks in reading order, each with its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .blocks import SQUARISH, Block, group
from .furigana import Furigana, Ruby
from .lines import Box, TextLine, mean_confidence
from .page_order import sort_blocks
from .text import is_stray, join_lines

GIANT = 5.0
"""A single character so many times larger than the page's others is a shape in the drawing."""


class ReadingOrder(StrEnum):
    """From which side a page is read."""

    AUTO = "auto"
    RTL = "rtl"
    LTR = "ltr"


@dataclass(frozen=True)
class Alternative:
    """What another reader made of a block."""

    text: str
    confidence: float | None
    engine: str


@dataclass(frozen=True)
class ReadBlock:
    """A block with what it says."""

    block: Block
    text: str
    confidence: float | None
    engine: str
    line_texts: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()
    rubies: tuple[Ruby, ...] | None = None
    """Where they were asked for."""


def form_blocks(
    lines: Sequence[TextLine], panels: Sequence[Box], *, right_to_left: bool, were_read: bool
) -> list[Block]:
    """The blocks of a page in reading order.

    Args:
        lines: as a detector gives them.
        panels: in reading order.
        right_to_left: whether the right one of two neighbours is read first.
        were_read: whether the lines have texts; what has none, or only what an outline looks like, is left out then.
    """
    if were_read:
        lines = [line for line in lines if line.text and not is_stray(line.text)]
    return sort_blocks(group(_drop_giants(lines)), panels, right_to_left=right_to_left)


def _drop_giants(lines: Sequence[TextLine]) -> list[TextLine]:
    sizes = sorted(line.size for line in lines)
    limit = GIANT * sizes[(len(sizes) - 1) // 2] if sizes else 0
    return [line for line in lines if line.size <= limit or len(line.text) > 1 or line.length >= SQUARISH * line.size]


def read_by_lines(block: Block, engine: str, *, furigana: Furigana) -> ReadBlock:
    """A block whose lines were read.

    Args:
        block: with texts.
        engine: who has read it.
        furigana: KEEP leaves them in the text, RUBY gives them beside it, STRIP leaves them out.
    """
    lines = block.all_lines if furigana is Furigana.KEEP else block.lines
    return ReadBlock(
        block=Block(lines, block.vertical),
        text=join_lines(line.text for line in lines),
        confidence=mean_confidence((line.text, line.confidence) for line in lines),
        engine=engine,
        line_texts=tuple(line.text for line in lines),
        rubies=tuple(block.rubies) if furigana is Furigana.RUBY else None,
    )
