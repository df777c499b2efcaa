"""Bodies of /ocr and /languages."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ...manga.furigana import Furigana
from ..shared.confidence import Confidence
from ..shared.fallback import Fallback


class RubyPair(BaseModel):
    """How some characters are read."""

    base: str
    ruby: str


class OcrForm(BaseModel):
    """The fields beside the picture."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    language: str = Field("ja", max_length=32)
    """Language of the text, as a code of GET /languages."""
    engine: str | None = Field(None, max_length=256)
    """Model id that shall read; the service chooses when it is left out."""
    furigana: Furigana = Furigana.STRIP
    """`strip` leaves furigana out of the text, `keep` leaves them in, `ruby` tells them with their base; the last two
    are for the embedded reader: MangaOCR always leaves furigana out."""
    fallback: Fallback = Fallback.AUTO
    """Who reads when the service's choice cannot: `auto` the embedded reader, with a notice; `never` nobody."""


class OcrAnswer(BaseModel):
    """The text of a crop, in reading order."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    text: str
    """The text; empty when there is none."""
    language: str
    """The language that was asked for."""
    confidence: Confidence | None
    """0..1, how sure the model is of its characters; null when there is no text or the model cannot say."""
    engine: str
    """Id of the model that read."""
    no_text: bool
    """Whether no text was found."""
    degraded: bool
    """Whether something less than the wanted model or device answered; `notice` says what."""
    truncated: bool
    """Whether the image has more lines than the service reads (`VISION_OCR_MAX_LINES`); the rest is missing."""
    notice: str | None
    """For people: what to know about this answer."""
    ruby: list[RubyPair] | None = None
    """With `furigana=ruby`: what the furigana say, and of which characters; null where the engine cannot tell."""


class Language(BaseModel):
    """A language that some model reads."""

    code: str
    name: str
    engines: list[str]


class Languages(BaseModel):
    """All languages that can be asked for."""

    languages: list[Language]
