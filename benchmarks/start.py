"""Measures how soon the service is ready and how much memory the gateway takes before any model is used."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx2
import psutil

from benchmarks.report import ROUNDS, Result, middle, report
from benchmarks.service import free_port, start, wait_until_ready

MOST_SECONDS = 2.0
MOST_MEBIBYTES = 150.0
PEER = "import of torch and transformers"


def main() -> int:
    seconds, memory, peer = [], [], []
    for _ in range(ROUNDS):
        found = _start_once()
        seconds.append(found[0])
        memory.append(found[1])
        peer.append(_import_once())
    ready, resident, imported = middle(seconds), middle(memory), middle(peer)
    rows = [
        ("", "median", "at most"),
        ("ready after start", f"{ready:.2f} s", f"{MOST_SECONDS} s"),
        ("resident memory of the gateway", f"{resident:.0f} MiB", f"{MOST_MEBIBYTES:.0f} MiB"),
        (PEER, f"{imported:.2f} s", ""),
    ]
    met = ready <= MOST_SECONDS and resident <= MOST_MEBIBYTES
    target = f"<= {MOST_SECONDS} s and <= {MOST_MEBIBYTES:.0f} MiB"
    return report(rows, Result("start", round(ready, 3), "s", PEER, round(ready / imported, 3), target, met))


def _start_once() -> tuple[float, float]:
    port = free_port()
    started = time.perf_counter()
    service = start(port)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            wait_until_ready(client, service)
            seconds = time.perf_counter() - started
            return seconds, psutil.Process(service.pid).memory_info().rss / 2**20
    finally:
        service.terminate()
        service.wait(60)


def _import_once() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, transformers"], check=True)
    return time.perf_counter() - started
