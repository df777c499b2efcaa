"""Compares a drawn double page with a bare `RapidOCR()` call, and four concurrent pages with sequential ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
from PIL import Image

from benchmarks.report import ROUNDS, Result, middle, report
from benchmarks.service import running
from fixtures.comic_pages import draw_comic_page
from fixtures.encoding import saved

LEAST_LINES = 85
AT_ONCE = 4
PAGES = 8
MOST_RATIO, LEAST_GAIN = 1.0, 1.1
BARE, ONE_BY_ONE = "bare RapidOCR()", "one page after another"


def main() -> int:
    spread = _double_page()
    pages = [saved(draw_comic_page("manga", seed).picture) for seed in range(PAGES)]
    bare = _bare_reader()
    times: dict[str, list[float]] = {"ours": [], "bare": [], "alone": [], "together": []}
    with running() as (client, _), ThreadPoolExecutor(AT_ONCE) as threads:
        data = saved(spread)
        pixels = np.asarray(spread)[:, :, ::-1]
        _read(client, data)
        for _ in range(ROUNDS):
            times["ours"].append(_timed(lambda: _read(client, data)))
            times["bare"].append(_timed(lambda: bare(pixels)))
            times["alone"].append(_timed(lambda: [_read(client, page) for page in pages]))
            times["together"].append(_timed(lambda: list(threads.map(lambda page: _read(client, page), pages))))
        lines = _read(client, data)
    ours, peer, alone, together = (middle(times[name]) for name in times)
    rows = [
        (f"a double page, {lines} lines found", "seconds"),
        ("POST /ocr/page", f"{ours:.2f}"),
        (BARE, f"{peer:.2f}"),
        ("", ""),
        (f"{PAGES} pages", "pages per second"),
        (ONE_BY_ONE, f"{PAGES / alone:.2f}"),
        (f"{AT_ONCE} at once", f"{PAGES / together:.2f}"),
    ]
    ratio, gain = ours / peer, alone / together
    rate = round(PAGES / together, 2)
    return report(
        rows,
        Result("pages", round(ours, 2), "s", BARE, round(ratio, 3), f"<= {MOST_RATIO}", ratio <= MOST_RATIO),
        Result("pages at once", rate, "pages/s", ONE_BY_ONE, round(gain, 3), f">= {LEAST_GAIN}", gain >= LEAST_GAIN),
    )


def _double_page() -> Image.Image:
    """Facing pages with at least `LEAST_LINES` lines; draws pages until one has enough."""
    pages = (draw_comic_page("spread", seed, density=3) for seed in range(200))
    return next(page.picture for page in pages if sum(len(block.lines) for block in page.blocks) >= LEAST_LINES)


def _bare_reader() -> Callable[[object], object]:
    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    engine = RapidOCR()
    engine(np.full((64, 64, 3), 255, np.uint8))
    return engine  # type: ignore[no-any-return]


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _read(client: httpx2.Client, page: bytes) -> int:
    answer = client.post("/ocr/page", files={"file": page}, data={"engine": "rapidocr"})
    answer.raise_for_status()
    return sum(len(block["lines"]) for block in answer.json()["blocks"])
