"""Measures the time the service adds to the model's own for a crop: HTTP, multipart, decoding, sockets, JSON."""

from __future__ import annotations

import time

import httpx2

from benchmarks.report import Result, middle, report
from benchmarks.service import running
from fixtures.drawing import draw_bubble
from fixtures.encoding import saved

MOST_MILLISECONDS = 6.0
REQUESTS = 200
MOST_BYTES = 30_000
PEER = "the model's own time"


def main() -> int:
    picture, _ = draw_bubble(["この道を", "まっすぐ行けば", "海に出るよ"], 34)
    data = saved(picture)
    assert len(data) < MOST_BYTES
    with running() as (client, _service):
        for _ in range(5):
            _read(client, data)
        pairs = [_timed(client, data) for _ in range(REQUESTS)]
    overhead = middle([(total - own) * 1000 for total, own in pairs])
    own_time = middle([own * 1000 for _, own in pairs])
    rows = [
        ("", "p50 of one client"),
        ("whole request", f"{middle([total * 1000 for total, _ in pairs]):.1f} ms"),
        (PEER, f"{own_time:.1f} ms"),
        ("overhead", f"{overhead:.1f} ms"),
    ]
    target = f"<= {MOST_MILLISECONDS} ms"
    ratio = round(overhead / own_time, 3)
    return report(
        rows, Result("overhead", round(overhead, 2), "ms", PEER, ratio, target, overhead <= MOST_MILLISECONDS)
    )


def _timed(client: httpx2.Client, data: bytes) -> tuple[float, float]:
    """Seconds of a request as seen by the client, and seconds in the model according to the service's metrics."""
    before = _run_seconds(client)
    started = time.perf_counter()
    _read(client, data)
    total = time.perf_counter() - started
    return total, _run_seconds(client) - before


def _read(client: httpx2.Client, data: bytes) -> None:
    client.post("/ocr", files={"file": data}).raise_for_status()


def _run_seconds(client: httpx2.Client) -> float:
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("llm_vision_batch_seconds_sum{"):
            return float(line.rpartition(" ")[2])
    return 0.0
