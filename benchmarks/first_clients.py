"""Measures peak memory when ten clients request full-size MangaOCR (random weights) before it is loaded."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psutil

from benchmarks.manga_ocr import write_checkpoint
from benchmarks.report import ROUNDS, Result, middle, report
from benchmarks.service import running
from fixtures.encoding import saved
from fixtures.japanese_crops import crops

CLIENTS = 10
MOST_RATIO = 1.1
PEER = "the same ten once it is loaded"
MEBIBYTE = 2**20


def main() -> int:
    pictures = [saved(crop.picture) for crop in crops(CLIENTS, seed=1)]
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        environment = {"MANGAOCR_MODEL_PATH": folder, "VISION_OCR_SECONDS": "300"}
        found = [_peaks(environment, pictures) for _ in range(ROUNDS)]
    first, again = middle([peak for peak, _ in found]), middle([peak for _, peak in found])
    rows = [
        ("MangaOCR, 111 M parameters", "peak memory of all processes"),
        (f"{CLIENTS} first clients at once", f"{first:.0f} MiB"),
        (PEER, f"{again:.0f} MiB"),
    ]
    ratio = first / again
    target = f"ratio <= {MOST_RATIO}"
    return report(
        rows, Result("first_clients", round(first), "MiB", PEER, round(ratio, 3), target, ratio <= MOST_RATIO)
    )


def _peaks(environment: dict[str, str], pictures: list[bytes]) -> tuple[float, float]:
    """Peak resident memory, in MiB, of a fresh service while it answers these at once, and when it does so again."""
    with running(environment) as (client, service), ThreadPoolExecutor(len(pictures)) as threads:
        gateway = psutil.Process(service.pid)
        return _peak(client, gateway, threads, pictures), _peak(client, gateway, threads, pictures)


def _peak(client: httpx2.Client, gateway: psutil.Process, threads: ThreadPoolExecutor, pictures: list[bytes]) -> float:
    asked = [threads.submit(_read, client, picture) for picture in pictures]
    peak = 0.0
    while not all(answer.done() for answer in asked):
        peak = max(peak, _resident(gateway))
        time.sleep(0.01)
    for answer in asked:
        answer.result()
    return peak / MEBIBYTE


def _resident(gateway: psutil.Process) -> float:
    """Proportional set size of a process and its children, in bytes; counts shared pages once."""
    total = 0.0
    for process in (gateway, *gateway.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def _read(client: httpx2.Client, picture: bytes) -> None:
    answer = client.post("/ocr", files={"file": picture}, data={"engine": "manga-ocr"}, timeout=300)
    answer.raise_for_status()
