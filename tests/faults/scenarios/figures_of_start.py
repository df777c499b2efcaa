"""Figures of the start: how fast and light it is, and what wrong settings do to it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil

from faults.figure import MEBIBYTE, Figure, all_of, at_most, exactly, server
from faults.scenarios import memory
from unit.test_settings import WRONG

PATIENCE = 20


async def start_figures() -> list[Figure]:
    started = time.perf_counter()
    with server() as live:
        ready = time.perf_counter() - started
        await asyncio.sleep(2)
        resident = memory.resident_bytes(live)
        mapped = {os.path.basename(found.path) for found in psutil.Process(live.process.pid).memory_maps()}
    torch = any("torch" in name for name in mapped)
    return [
        at_most(38, "/livez after the start", ready, 3, "s"),
        at_most(38, "memory of the idle service, decoder included", resident / MEBIBYTE, 150, "MiB", 0),
        exactly(38, "torch in the gateway", torch, wanted=False),
    ]


async def setting_figures() -> list[Figure]:
    """The wrong values of tests/unit/test_settings.py, one start each."""
    starts = [await asyncio.to_thread(_start_with, name, value) for name, value in WRONG]
    return [
        all_of(36, "wrong settings: status 78 and the name told", sum(one.is_told for one in starts), len(starts), 30),
        at_most(36, "slowest end of such a start", max(one.seconds for one in starts), 3, "s"),
    ]


@dataclass(frozen=True)
class _Start:
    is_told: bool
    """Whether it ended with status 78 and named the variable."""
    seconds: float


def _start_with(name: str, value: str) -> _Start:
    command = [sys.executable, "-m", "llm_vision.cli.main", "serve"]
    environment = {**os.environ, name: value}
    began = time.perf_counter()
    try:
        answer = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return _Start(False, PATIENCE)
    return _Start(answer.returncode == 78 and name in answer.stderr, time.perf_counter() - began)
