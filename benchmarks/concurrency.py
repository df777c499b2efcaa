"""Compares the crops per second of 16 concurrent clients with one sequential client."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx2

from benchmarks.report import ROUNDS, Result, middle, report
from benchmarks.service import running
from fixtures.drawing import sample_bubbles
from fixtures.encoding import saved

CLIENTS = 16
CROPS = 64
LEAST_RATIO = 1.1
MOST_CONFIDENCE_CHANGE = 0.02
PEER = "one client, one crop after another"

Answer = tuple[str, float]


def main() -> int:
    crops = [saved(picture) for picture, _, _ in sample_bubbles(CROPS, seed=2)]
    alone, together, changes = [], [], []
    with running() as (client, _service), ThreadPoolExecutor(CLIENTS) as threads:
        clients = [httpx2.Client(base_url=client.base_url, timeout=120, trust_env=False) for _ in range(CLIENTS)]
        _read(client, crops[0])
        for _ in range(ROUNDS):
            started = time.perf_counter()
            one_by_one = [_read(client, crop) for crop in crops]
            alone.append(CROPS / (time.perf_counter() - started))
            started = time.perf_counter()
            at_once = list(threads.map(lambda n: _read(clients[n % CLIENTS], crops[n]), range(CROPS)))
            together.append(CROPS / (time.perf_counter() - started))
            changes.append(_difference(one_by_one, at_once))
        for one in clients:
            one.close()
    ratio = middle(together) / middle(alone)
    worst = max(changes)
    rows = [
        (f"{CROPS} drawn crops", "crops per second"),
        (PEER, f"{middle(alone):.1f}"),
        (f"{CLIENTS} clients at once", f"{middle(together):.1f}"),
        ("largest change in confidence", f"{worst:.4f}"),
    ]
    met = ratio >= LEAST_RATIO and worst <= MOST_CONFIDENCE_CHANGE
    target = f"ratio >= {LEAST_RATIO}, same texts, confidence within {MOST_CONFIDENCE_CHANGE}"
    value = round(middle(together), 2)
    return report(rows, Result("concurrency", value, "crops/s", PEER, round(ratio, 3), target, met))


def _read(client: httpx2.Client, crop: bytes) -> Answer:
    answer = client.post("/ocr", files={"file": crop})
    answer.raise_for_status()
    return answer.json()["text"], answer.json()["confidence"] or 0.0


def _difference(one_by_one: list[Answer], at_once: list[Answer]) -> float:
    """The largest change in confidence; infinite if a text changed."""
    pairs = list(zip(one_by_one, at_once, strict=True))
    if any(first[0] != second[0] for first, second in pairs):
        return float("inf")
    return max(abs(first[1] - second[1]) for first, second in pairs)
