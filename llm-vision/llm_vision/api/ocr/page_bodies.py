"""Bodies of /ocr/page."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from ...manga.furigana import Furigana
from ...manga.page import ReadingOrder
from ..shared.confidence import Confidence
from .bodies import OcrForm, RubyPair

Place = tuple[float, float]
Box = tuple[float, float, float, float]


class PageFormat(StrEnum):
    """What comes back."""

    JSON = "json"
    MOKURO = "mokuro"
    TEXT = "text"
    IMAGE = "image"


class PageForm(OcrForm):
    """The fields beside the picture."""

    furigana: Furigana = Furigana.STRIP
    """`strip` leaves furigana out of the texts, `keep` leaves them in, `ruby` tells them with their base."""
    reading_order: ReadingOrder = ReadingOrder.AUTO
    """`rtl` for manga, `ltr` for western comics; `auto`: `rtl` where most text stands in columns."""
    format: PageFormat = PageFormat.JSON
    """`json`; `mokuro`, a page object of the .mokuro format; `text`, a block a line; `image`, a PNG with boxes."""


class PageLine(BaseModel):
    """A column or a row."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    polygon: tuple[Place, Place, Place, Place]
    """Corners in pixels, clockwise from the top left."""
    text: str
    """What it says; where a block was read as a whole, its text divided by the lines' lengths."""
    confidence: Confidence | None
    """0..1; null where the block was read as a whole."""


class PageAlternative(BaseModel):
    """What the engine that was not chosen has read."""

    text: str
    confidence: Confidence | None
    engine: str


class PageBlock(BaseModel):
    """The text of a bubble or caption."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    box: Box
    """Left, top, right, bottom in pixels."""
    vertical: bool
    """Whether its lines are columns."""
    font_size: float
    """Size of a character in pixels, about."""
    lines: list[PageLine]
    text: str
    confidence: Confidence | None
    engine: str
    """Id of the model that read it."""
    order: int
    """Its place in the reading order, from 0."""
    alternatives: list[PageAlternative]
    """The other reading, where two engines have read the block and differ."""
    ruby: list[RubyPair] | None
    """With `furigana=ruby`: what they say, and of which characters."""


class PageAnswer(BaseModel):
    """Everything that a page says, in reading order."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    width: int
    height: int
    blocks: list[PageBlock]
    text: str
    """The blocks' texts, one a line."""
    language: str
    engine: str
    """Id of the model that was chosen to read."""
    reading_order: ReadingOrder
    """`rtl` or `ltr`."""
    degraded: bool
    """Whether something less than the wanted model or device answered; `notice` says what."""
    truncated: bool
    """Whether the page has more lines than the service reads (`VISION_OCR_MAX_LINES`); the rest is missing."""
    notice: str | None
    """For people: what to know about this answer."""
