"""The tasks `classify` and `caption`: what a picture shows, as names or in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from ..base import JsonObject


@dataclass(frozen=True)
class Label:
    """A name for what a picture shows."""

    name: str
    confidence: float
    """0..1"""


@dataclass(frozen=True)
class Labels:
    """The likeliest names, the likeliest first."""

    labels: tuple[Label, ...]

    def as_json(self) -> JsonObject:
        return {"labels": [{"label": label.name, "confidence": label.confidence} for label in self.labels]}

    @classmethod
    def from_json(cls, value: JsonObject) -> Labels:
        return cls(tuple(Label(label["label"], label["confidence"]) for label in value["labels"]))


@dataclass(frozen=True)
class Classify:
    """Name what a picture shows."""

    def as_json(self) -> JsonObject:
        return {}

    def parse_result(self, value: JsonObject) -> Labels:
        return Labels.from_json(value)


@dataclass(frozen=True)
class CaptionText:
    """A sentence about a picture."""

    text: str
    confidence: float | None

    def as_json(self) -> JsonObject:
        return {"text": self.text, "confidence": self.confidence}

    @classmethod
    def from_json(cls, value: JsonObject) -> CaptionText:
        return cls(value["text"], value["confidence"])


@dataclass(frozen=True)
class Caption:
    """Describe a picture in a sentence."""

    def as_json(self) -> JsonObject:
        return {}

    def parse_result(self, value: JsonObject) -> CaptionText:
        return CaptionText.from_json(value)
