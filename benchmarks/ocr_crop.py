"""Compares the embedded reader with a plain `RapidOCR()` call on speech-bubble crops: time and character errors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rapidfuzz.distance import Levenshtein

from benchmarks.report import ROUNDS, Result, middle, report
from fixtures.drawing import sample_bubbles
from llm_vision.models.base import Item, LoadContext
from llm_vision.models.families.rapidocr.model import RapidOcr

CROPS = 54
MOST_RATIO = 0.3
PEER = "plain RapidOCR()"


class _Crop(Item):
    cancelled = False

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.images = (pixels,)
        self.params = {"language": "ja", "furigana": "strip"}

    def send_token(self, text: str) -> None:
        raise NotImplementedError


def main() -> int:
    ours, plain = _our_reader(), _plain_reader()
    samples = [(np.asarray(picture), text) for picture, text, _ in sample_bubbles(CROPS)]
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(ROUNDS):
        for name, read in (("ours", ours), ("plain", plain)):
            started = time.perf_counter()
            for pixels, _text in samples:
                read(pixels)
            times[name].append((time.perf_counter() - started) / CROPS)
    our_time, plain_time = middle(times["ours"]), middle(times["plain"])
    our_errors, plain_errors = _errors(ours, samples), _errors(plain, samples)
    rows = [
        (f"{CROPS} drawn crops", "time per crop", "character errors"),
        ("embedded reader", f"{our_time * 1000:.0f} ms", f"{our_errors:.1%}"),
        (PEER, f"{plain_time * 1000:.0f} ms", f"{plain_errors:.1%}"),
    ]
    ratio = our_time / plain_time
    met = ratio <= MOST_RATIO and our_errors < plain_errors
    target = f"ratio <= {MOST_RATIO} and fewer errors"
    return report(rows, Result("ocr_crop", round(our_time * 1000, 1), "ms", PEER, round(ratio, 3), target, met))


def _our_reader() -> Callable[[NDArray[np.uint8]], str]:
    model = RapidOcr()
    model.load(LoadContext(device="cpu", threads=2))

    def read(pixels: NDArray[np.uint8]) -> str:
        (result,) = model.predict([_Crop(pixels)])
        assert not isinstance(result, Exception)
        return str(result["text"])

    return read


def _plain_reader() -> Callable[[NDArray[np.uint8]], str]:
    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    engine = RapidOCR()

    def read(pixels: NDArray[np.uint8]) -> str:
        return "".join(engine(np.asarray(Image.fromarray(pixels))[:, :, ::-1]).txts or ())

    return read


def _errors(read: Callable[[NDArray[np.uint8]], str], samples: list[tuple[NDArray[np.uint8], str]]) -> float:
    """Character errors of all crops, as a share of the ground truth's characters."""
    wrong = sum(Levenshtein.distance(read(pixels), text) for pixels, text in samples)
    return wrong / sum(len(text) for _, text in samples)
