"""Compares a page of 30 blocks read by full-size MangaOCR (random weights) with the `manga_ocr` package on each."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.manga_ocr import PEER, THREADS, package_reader, write_checkpoint
from benchmarks.report import ROUNDS, Result, middle, report
from fixtures.comic_pages import ComicPage, draw_comic_page
from fixtures.items import items_of
from llm_vision.images.raw import RawImage
from llm_vision.manga.page import ReadingOrder
from llm_vision.manga.splitting import MOST_LINES
from llm_vision.models.base import LoadContext, Model
from llm_vision.models.families.manga_ocr import model as manga_ocr
from llm_vision.models.families.rapidocr.model import RapidOcr
from llm_vision.models.tasks.reading import ReadCrop
from llm_vision.models.tasks.request import TaskRequest
from llm_vision.services.inference import Outcome
from llm_vision.services.inference import Result as TaskResult
from llm_vision.services.reading.crops import ChosenEngine
from llm_vision.services.reading.pages import PageReader

BLOCKS, TOKENS = 30, 16
MOST_RECOGNITION, MOST_PAGE = 0.2, 0.4


@dataclass
class _Here:
    """What `Permit.run` does, without a gateway: the models run in this process."""

    models: dict[str, Model]
    seconds: dict[str, float] = field(default_factory=dict)
    """By model, of the last page."""

    async def run(
        self, model_id: str, images: Sequence[RawImage], request: TaskRequest[TaskResult], *, is_last_use: bool = False
    ) -> Outcome[TaskResult]:
        started = time.perf_counter()
        (item,) = items_of([Image.new("RGB", (1, 1))])
        item.images = tuple(np.frombuffer(i.data, np.uint8).reshape(i.height, i.width, 3) for i in images)
        item.params = request.as_json()
        (result,) = self.models[model_id].predict([item])
        if isinstance(result, Exception):
            raise result
        self.seconds[model_id] = self.seconds.get(model_id, 0) + time.perf_counter() - started
        return Outcome(request.parse_result(result))


def main() -> int:
    page = _page()
    raw = RawImage(*page.picture.size, page.picture.tobytes())
    crops = [page.picture.crop(block.box) for block in page.blocks]
    times: dict[str, list[float]] = {"package": [], "recognition": [], "page": []}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        here = _Here({"manga-ocr": _reader(manga_ocr.MangaOcr(), Path(folder)), "rapidocr": _reader(RapidOcr(), None)})
        package = package_reader(folder)
        chosen = ChosenEngine("manga-ocr", ReadCrop("ja"), fallback="rapidocr")
        reader = PageReader(here, chosen, ReadingOrder.AUTO, "rapidocr")  # type: ignore[arg-type]
        for _ in range(ROUNDS):
            here.seconds.clear()
            started = time.perf_counter()
            found = asyncio.run(reader.read(raw))
            times["page"].append(time.perf_counter() - started)
            times["recognition"].append(here.seconds["manga-ocr"])
            started = time.perf_counter()
            for crop in crops:
                package(crop)
            times["package"].append(time.perf_counter() - started)
    peer, recognition, whole = (middle(times[name]) for name in times)
    rows: list[tuple[Any, ...]] = [
        (f"{len(crops)} blocks, {len(found.blocks)} found, {TOKENS} tokens each", "seconds", "ratio"),
        (PEER, f"{peer:.1f}", ""),
        ("recognition of the blocks", f"{recognition:.2f}", f"{recognition / peer:.3f}"),
        ("the whole page, every block read twice", f"{whole:.2f}", f"{whole / peer:.3f}"),
    ]
    return report(
        rows,
        _result("recognition", recognition, peer, MOST_RECOGNITION),
        _result("page", whole, peer, MOST_PAGE),
    )


def _result(name: str, value: float, peer: float, most: float) -> Result:
    ratio = value / peer
    return Result(f"pages_manga_ocr: {name}", round(value, 2), "s", PEER, round(ratio, 3), f"<= {most}", ratio <= most)


def _page() -> ComicPage:
    pages = (draw_comic_page("spread", seed, density=2) for seed in range(600))
    return next(page for page in pages if len(page.blocks) == BLOCKS and _is_short(page))


def _is_short(page: ComicPage) -> bool:
    """Whether no block is split, since the package also reads each as one crop."""
    return max(len(block.lines) for block in page.blocks) <= MOST_LINES


def _reader(model: Model, folder: Path | None) -> Model:
    manga_ocr.MAX_TOKENS = 1 + TOKENS
    model.load(LoadContext("cpu", THREADS, folder))
    model.threads = THREADS
    return model
