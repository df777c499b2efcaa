"""The `ocr` task: crops, pages, lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...manga.blocks import Block
from ...manga.furigana import Furigana, Ruby
from ...manga.lines import Point, TextLine
from ...manga.page import ReadingOrder
from ..base import JsonObject

TRUNCATED = "The image has more lines than the service reads (VISION_OCR_MAX_LINES); this answer lacks the rest."


@dataclass(frozen=True)
class CropText:
    """The text of a crop."""

    text: str
    confidence: float | None = None
    """0..1; None without text."""
    lines: tuple[TextLine, ...] = ()
    """In reading order, where the reader knows them."""
    rubies: tuple[Ruby, ...] | None = None
    """Where they were asked for and the reader can tell."""
    notice: str | None = None
    truncated: bool = False
    """Whether the picture has more lines than are read."""

    def as_json(self) -> JsonObject:
        value: JsonObject = {"text": self.text, "confidence": self.confidence, "lines": _lines_as_json(self.lines)}
        if self.rubies is not None:
            value["ruby"] = [{"base": ruby.base, "ruby": ruby.ruby} for ruby in self.rubies]
        if self.truncated:
            value["truncated"] = True
        return value if self.notice is None else {**value, "notice": self.notice}

    @classmethod
    def from_json(cls, value: JsonObject) -> CropText:
        rubies = value.get("ruby")
        return cls(
            text=value["text"],
            confidence=value.get("confidence"),
            lines=tuple(map(_line_from_json, value.get("lines", ()))),
            rubies=None if rubies is None else tuple(Ruby(pair["base"], pair["ruby"]) for pair in rubies),
            notice=value.get("notice"),
            truncated=value.get("truncated", False),
        )


@dataclass(frozen=True)
class CropTexts:
    """The texts of several crops, in their order."""

    readings: tuple[CropText, ...]

    def as_json(self) -> JsonObject:
        return {"readings": [reading.as_json() for reading in self.readings]}

    @classmethod
    def from_json(cls, value: JsonObject) -> CropTexts:
        return cls(tuple(map(CropText.from_json, value["readings"])))


@dataclass(frozen=True)
class PageText:
    """Where text is on a page, and what it says if it was read."""

    lines: tuple[TextLine, ...]
    blocks: tuple[Block, ...] = ()
    """In reading order; their lines are some of `lines`."""
    right_to_left: bool = True
    truncated: bool = False
    """Whether the page has more lines than these."""

    def as_json(self) -> JsonObject:
        numbers = {id(line): number for number, line in enumerate(self.lines)}
        blocks = [
            {
                "lines": [numbers[id(line)] for line in block.lines],
                "furigana": [numbers[id(line)] for line in block.furigana],
                "vertical": block.vertical,
            }
            for block in self.blocks
        ]
        return {
            "lines": _lines_as_json(self.lines),
            "blocks": blocks,
            "right_to_left": self.right_to_left,
            "truncated": self.truncated,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> PageText:
        lines = tuple(map(_line_from_json, value["lines"]))
        blocks = tuple(
            Block(
                tuple(lines[number] for number in block["lines"]),
                block["vertical"],
                tuple(lines[number] for number in block["furigana"]),
            )
            for block in value["blocks"]
        )
        return cls(lines, blocks, value["right_to_left"], value.get("truncated", False))


@dataclass(frozen=True)
class ReadCrop:
    """Read one picture as a crop."""

    language: str
    furigana: Furigana = Furigana.STRIP

    def as_json(self) -> JsonObject:
        return {"mode": "crop", "language": self.language, "furigana": self.furigana}

    def parse_result(self, value: JsonObject) -> CropText:
        return CropText.from_json(value)


@dataclass(frozen=True)
class ReadCrops:
    """Read several pictures, each as a crop."""

    language: str
    furigana: Furigana = Furigana.STRIP

    def as_json(self) -> JsonObject:
        return {"mode": "crops", "language": self.language, "furigana": self.furigana}

    def parse_result(self, value: JsonObject) -> CropTexts:
        return CropTexts.from_json(value)


@dataclass(frozen=True)
class ReadPage:
    """Find the lines and blocks of a page, and read the lines if they are wanted."""

    language: str
    furigana: Furigana = Furigana.STRIP
    reading_order: ReadingOrder = ReadingOrder.AUTO
    reads_lines: bool = True

    def as_json(self) -> JsonObject:
        return {
            "mode": "page",
            "language": self.language,
            "furigana": self.furigana,
            "reading_order": self.reading_order,
            "read": self.reads_lines,
        }

    def parse_result(self, value: JsonObject) -> PageText:
        return PageText.from_json(value)


@dataclass(frozen=True)
class ReadLines:
    """Read the lines of a page whose places are known; their texts are ignored."""

    language: str
    lines: tuple[TextLine, ...]
    furigana: Furigana = Furigana.STRIP

    def as_json(self) -> JsonObject:
        return {
            "mode": "lines",
            "language": self.language,
            "furigana": self.furigana,
            "lines": [line.polygon for line in self.lines],
            "vertical": [line.vertical for line in self.lines],
        }

    def parse_result(self, value: JsonObject) -> PageText:
        return PageText.from_json(value)


ReadingRequest = ReadCrop | ReadCrops | ReadPage | ReadLines


def reading_from_json(value: JsonObject) -> ReadingRequest:
    """The request of an `ocr` task."""
    language, furigana = value["language"], Furigana(value["furigana"])
    match value.get("mode", "crop"):
        case "crop":
            return ReadCrop(language, furigana)
        case "crops":
            return ReadCrops(language, furigana)
        case "page":
            return ReadPage(language, furigana, ReadingOrder(value["reading_order"]), value["read"])
    named = zip(value["lines"], value["vertical"], strict=True)
    lines = (TextLine(_corners(polygon), "", 0.0, vertical) for polygon, vertical in named)
    return ReadLines(language, tuple(lines), furigana)


def _lines_as_json(lines: Sequence[TextLine]) -> list[JsonObject]:
    return [
        {
            "polygon": line.polygon,
            "text": line.text,
            "confidence": line.confidence,
            "vertical": line.vertical,
            **({"ink": line.ink} if line.ink else {}),
        }
        for line in lines
    ]


def _line_from_json(value: JsonObject) -> TextLine:
    ink = value.get("ink")
    return TextLine(
        polygon=_corners(value["polygon"]),
        text=value["text"],
        confidence=value["confidence"],
        vertical=value["vertical"],
        ink=tuple(ink) if ink else None,
    )


def _corners(polygon: Sequence[Sequence[float]]) -> tuple[Point, Point, Point, Point]:
    first, second, third, fourth = ((float(x), float(y)) for x, y in polygon)
    return first, second, third, fourth
