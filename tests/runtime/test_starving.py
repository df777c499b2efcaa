"""A process is not blamed for the time in which the machine did something else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from fixtures.waiting import eventually
from llm_vision.runtime.processes.starving import Starving

BUSY = "while True: pass"


@pytest.fixture
def one_core() -> Iterator[int]:
    """A core that the processes which are started now share."""
    before = os.sched_getaffinity(0)
    core = min(before)
    os.sched_setaffinity(0, {core})
    yield core
    os.sched_setaffinity(0, before)


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(processes: ExitStack, code: str) -> subprocess.Popen[bytes]:
    process = processes.enter_context(subprocess.Popen([sys.executable, "-S", "-c", code]))
    processes.callback(process.kill)
    return process


def test_who_shares_a_core_starves(one_core: int, processes: ExitStack) -> None:
    first = start(processes, BUSY)
    starving = Starving(first.pid)
    start(processes, BUSY)
    eventually(lambda: starving.seconds > 0.1)


def test_who_sleeps_does_not_starve(processes: ExitStack) -> None:
    sleeps = start(processes, "import time; time.sleep(600)")
    eventually(lambda: psutil.Process(sleeps.pid).status() == psutil.STATUS_SLEEPING)

    def is_calm() -> bool:
        starving = Starving(sleeps.pid)
        time.sleep(0.1)
        return starving.seconds == 0

    eventually(is_calm)


def test_a_process_that_is_gone_does_not_starve() -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    assert Starving(ended.pid).seconds == 0
