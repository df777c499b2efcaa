"""Which of two readings of a block is more probably right: confidences of two engines do not compare as they are."""

from __future__ import annotations

import math

from .page import ReadBlock

SURE = 0.7
"""Probability of being right from which on nobody else is asked."""
_CURVES = {"manga-ocr": (0.86, -2.8), "rapidocr": (0.41, -1.77)}
"""Slope and offset of log-odds of being right over those of the confidence (Platt scaling, 1999), fitted by
benchmarks/second_opinion.py on 400 drawn crops, half of them damaged. MangaOCR was the tiny trained one there."""
_SMALLEST = 1e-4


def probability(engine: str, confidence: float | None) -> float:
    """How probably a text is right as a whole, by what its engine says of it; 0 without a text."""
    if confidence is None:
        return 0.0
    share = min(max(confidence, _SMALLEST), 1 - _SMALLEST)
    slope, offset = _CURVES.get(engine, (1.0, 0.0))
    return 1 / (1 + math.exp(-(slope * math.log(share / (1 - share)) + offset)))


def is_doubtful(engine: str, confidence: float | None) -> bool:
    """Whether another engine should be asked."""
    return probability(engine, confidence) < SURE


def choose(first: ReadBlock, second: ReadBlock) -> ReadBlock:
    """The reading that is more probably right; the first one where they are equal."""
    chances = [probability(reading.engine, reading.confidence) for reading in (first, second)]
    return second if chances[1] > chances[0] else first
