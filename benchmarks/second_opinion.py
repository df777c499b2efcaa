"""Fits curves that make two readers' confidences comparable, and measures the benefit of choosing by them.

The tiny trained MangaOCR stands for the real one, whose weights cannot be had everywhere: with those, run this again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageFilter
from rapidfuzz.distance import Levenshtein

from benchmarks.report import Result, report
from fixtures.drawing import worn
from fixtures.items import items_of
from fixtures.japanese_crops import crops
from fixtures.tiny_models import MANGA_OCR
from llm_vision.manga.arbitration import is_doubtful, probability
from llm_vision.models.base import LoadContext, Model
from llm_vision.models.families.manga_ocr.model import MangaOcr
from llm_vision.models.families.rapidocr.model import RapidOcr

CROPS = 800
BATCH = 16
STEPS, RATE = 4000, 0.05
SMALLEST = 1e-4
PEER = "the better of the two readers alone"


@dataclass(frozen=True)
class Reading:
    """A reader's text for a crop, and the ground truth."""

    text: str
    confidence: float | None
    truth: str

    @property
    def errors(self) -> int:
        """Wrong characters."""
        return int(Levenshtein.distance(self.text, self.truth))

    @property
    def logit(self) -> float:
        """Log-odds of the confidence."""
        share = min(max(self.confidence or 0.0, SMALLEST), 1 - SMALLEST)
        return math.log(share / (1 - share))


def main() -> int:
    drawn = list(crops(CROPS, seed=41))
    pictures = [_damaged(crop.picture, number) for number, crop in enumerate(drawn)]
    readers: dict[str, Model] = {"manga-ocr": MangaOcr(), "rapidocr": RapidOcr()}
    readings = {
        name: _readings(reader, name, pictures, [crop.text for crop in drawn]) for name, reader in readers.items()
    }
    half = CROPS // 2
    curves = {name: _fitted(found[:half]) for name, found in readings.items()}
    print(
        "curves fitted on the first half:", {name: tuple(round(v, 2) for v in curve) for name, curve in curves.items()}
    )
    first, second = (found[half:] for found in readings.values())
    chosen = [_chosen(one, other) for one, other in zip(first, second, strict=True)]
    best = [min(pair, key=lambda reading: reading.errors) for pair in zip(first, second, strict=True)]
    asked = sum(is_doubtful("manga-ocr", reading.confidence) for reading in first) / half
    rates = {name: _rate(found[half:]) for name, found in readings.items()}
    rows = [
        (f"{half} crops, clean and damaged", "wrong characters"),
        *((f"always {name}", f"{rate:.1%}") for name, rate in rates.items()),
        (f"the rule; uses both readers for {asked:.0%}", f"{_rate(chosen):.1%}"),
        ("always the better one (oracle)", f"{_rate(best):.1%}"),
    ]
    ratio = _rate(chosen) / min(rates.values())
    return report(
        rows, Result("second_opinion", round(_rate(chosen), 4), "share", PEER, round(ratio, 3), "< 1", ratio < 1)
    )


def _damaged(picture: Image.Image, number: int) -> Image.Image:
    """Every other crop unchanged, the rest blurred, small, noisy, worn or tilted."""
    chance = random.Random(number)
    kind = number % 10
    if kind == 1:
        return picture.filter(ImageFilter.GaussianBlur(chance.uniform(0.8, 2.2)))
    if kind == 3:
        share = chance.uniform(0.3, 0.6)
        return picture.resize((round(picture.width * share), round(picture.height * share)))
    if kind == 5:
        return worn(picture, quality=chance.randint(8, 30), noise=chance.randint(40, 120))
    if kind == 7:
        return picture.rotate(chance.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    if kind == 9:
        return worn(picture, quality=20, blur=chance.uniform(0.5, 1.5))
    return picture


def _readings(reader: Model, name: str, pictures: Sequence[Image.Image], truths: Sequence[str]) -> list[Reading]:
    from manga_ocr.ocr import post_process

    reader.load(LoadContext("cpu", 2, MANGA_OCR if name == "manga-ocr" else None))
    reader.threads = 2
    found = []
    for start in range(0, len(pictures), BATCH):
        items = items_of(pictures[start : start + BATCH], language="ja", furigana="strip")
        for result, truth in zip(reader.predict(items), truths[start : start + BATCH], strict=True):
            if isinstance(result, Exception):
                raise result
            found.append(Reading(post_process(result["text"]), result["confidence"], post_process(truth)))
    return found


def _fitted(readings: Sequence[Reading]) -> tuple[float, float]:
    """Slope and offset of log-odds of a right text over those of the confidence (Platt, 1999), by gradient descent."""
    points = [(reading.logit, float(not reading.errors)) for reading in readings if reading.confidence is not None]
    slope, offset = 1.0, 0.0
    for _ in range(STEPS):
        errors = [(1 / (1 + math.exp(-(slope * x + offset))) - y, x) for x, y in points]
        slope -= RATE * sum(error * x for error, x in errors) / len(points)
        offset -= RATE * sum(error for error, _ in errors) / len(points)
    return slope, offset


def _chosen(first: Reading, second: Reading) -> Reading:
    """The same choice as services/reading/pages makes."""
    if not is_doubtful("manga-ocr", first.confidence):
        return first
    chances = probability("manga-ocr", first.confidence), probability("rapidocr", second.confidence)
    return second if chances[1] > chances[0] else first


def _rate(readings: Sequence[Reading]) -> float:
    return sum(reading.errors for reading in readings) / sum(len(reading.truth) for reading in readings)
