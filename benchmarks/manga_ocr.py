"""Compares full-size MangaOCR, with random weights, with the `manga_ocr` package, which reads crops one by one."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.report import ROUNDS, Result, middle, report
from fixtures.items import items_of
from fixtures.japanese_crops import crops
from llm_vision.models.base import LoadContext
from llm_vision.models.families.manga_ocr import model as manga_ocr

TOKENS = 16
VOCABULARY = 6144  # of kha-white/manga-ocr-base
BATCH = 16
CROPS = 16
THREADS = 2
LEAST_AT_ONCE, LEAST_ALONE = 5.5, 1.9
PEER = "the manga_ocr package, one by one"


def main() -> int:
    pictures = [crop.picture for crop in crops(CROPS, seed=1)]
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        ours, package = _our_reader(Path(folder)), package_reader(folder)
        ways: dict[str, Callable[[], object]] = {
            "package": lambda: [package(picture) for picture in pictures],
            "alone": lambda: [ours([picture]) for picture in pictures],
            "at once": lambda: [ours(pictures[at : at + BATCH]) for at in range(0, CROPS, BATCH)],
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, read in ways.items():
                started = time.perf_counter()
                read()
                times[name].append((time.perf_counter() - started) / CROPS * 1000)
    peer, alone, at_once = (middle(times[name]) for name in ways)
    rows = [
        (f"{CROPS} crops of {TOKENS} tokens, beam 4", "time per crop", "times faster"),
        (PEER, f"{peer:.0f} ms", ""),
        ("one crop at a time", f"{alone:.0f} ms", f"{peer / alone:.2f}"),
        (f"{BATCH} at once", f"{at_once:.0f} ms", f"{peer / at_once:.2f}"),
    ]
    met = peer / at_once >= LEAST_AT_ONCE and peer / alone >= LEAST_ALONE
    target = f"{LEAST_AT_ONCE} times faster at {BATCH}, {LEAST_ALONE} times alone"
    return report(rows, Result("manga_ocr", round(at_once, 1), "ms", PEER, round(at_once / peer, 3), target, met))


def write_checkpoint(folder: Path) -> None:
    """The parts and sizes of kha-white/manga-ocr-base, whose weights are not available everywhere."""
    from transformers import BertConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    from fixtures.training.manga_ocr import describe

    decoder = BertConfig(vocab_size=VOCABULARY, num_hidden_layers=2, is_decoder=True, add_cross_attention=True)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), decoder)
    model = VisionEncoderDecoderModel(config)
    words = [f"[{number}]" if number < 5 else chr(0x4E00 + number) for number in range(VOCABULARY)]
    describe(model, folder, words, side=224)


def _our_reader(folder: Path) -> Callable[[list[Image.Image]], object]:
    manga_ocr.MAX_TOKENS = 1 + TOKENS
    model = manga_ocr.MangaOcr()
    model.load(LoadContext("cpu", THREADS, folder))
    model.threads = THREADS
    return lambda pictures: model.predict(items_of(pictures))


def package_reader(folder: str) -> Callable[[Image.Image], Any]:
    import torch

    from manga_ocr import MangaOcr

    class Short(MangaOcr):
        """Skip the picture that the package reads at startup: with random weights it takes 300 tokens."""

        def __call__(self, img_or_path: object) -> str:
            return "" if isinstance(img_or_path, Path) else str(super().__call__(img_or_path))

    torch.set_num_threads(THREADS)
    package = Short(folder, force_cpu=True)
    generate = package.model.generate
    package.model.generate = functools.partial(_at_most, generate)
    return package


def _at_most(generate: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    return generate(*inputs, **{**options, "max_length": 1 + TOKENS})
