"""A process that is being closed is closed to the end, whoever leaves meanwhile."""

from __future__ import annotations

import asyncio

import psutil

from conftest import Journal
from runtime.conftest import make_worker, pid_of


async def test_a_stop_in_the_middle_of_a_crash_leaves_nothing(journal: Journal) -> None:
    before = set(asyncio.all_tasks())
    files = psutil.Process().num_fds()
    worker = make_worker()
    await worker.start()
    psutil.Process(pid_of(worker)).kill()
    while worker.state == "ready":  # noqa: ASYNC110  (the moment in which the process is being closed is short)
        await asyncio.sleep(0)
    await worker.stop()
    assert set(asyncio.all_tasks()) == before
    assert psutil.Process().num_fds() <= files
