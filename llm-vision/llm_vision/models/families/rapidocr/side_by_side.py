"""The engines of the embedded reader, and which works on what: one part each, side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from ...parts import Assignment, PartedRequests
from .engine import Engine

SPARE = 1
"""Engines beside those that have a core each: while one of these is busy with a large part, it works for others."""
LARGE_SECONDS = 0.05
"""A part that takes longer is a large one: most take less."""
LOOK_SECONDS = 0.005
"""Until somebody who has come meanwhile is looked for."""


@dataclass
class _Station:
    """An engine, and what it does now."""

    engine: Engine
    assignment: Assignment | None = None
    started_at: float = field(default=0.0)


class Engines:
    """A thread for each engine.

    Args:
        engines: the last one is the spare one.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._stations = [_Station(engine) for engine in engines]
        self._threads = ThreadPoolExecutor(len(engines), "engine")
        self._done: SimpleQueue[tuple[_Station, Any, float]] = SimpleQueue()

    def warm_up(self) -> None:
        """Run the networks of each engine once."""
        for station in self._stations:
            station.engine.warm_up()

    def work_on(self, requests: PartedRequests, threads: int) -> None:
        """Begin with as many parts as there are engines, and wait a little for one that is done.

        Args:
            requests: whose parts.
            threads: engines that may work side by side, the spare one not among them.
        """
        self._begin(requests, threads)
        if not requests.running:
            return
        try:
            self._take(requests, self._done.get(timeout=LOOK_SECONDS))
            while True:
                self._take(requests, self._done.get_nowait())
        except Empty:
            return

    def _begin(self, requests: PartedRequests, threads: int) -> None:
        for station in self._stations[:-SPARE][: max(1, threads)]:
            if station.assignment is None and not self._start(station, requests.take()):
                return
        if self._is_held_up(threads):
            self._start(self._stations[-1], requests.take(only_idle_clients=True))

    def _is_held_up(self, threads: int) -> bool:
        """Whether all usual engines are busy, and one of them with a large part: others had less than their share."""
        since = time.perf_counter() - LARGE_SECONDS
        usual = self._stations[:-SPARE][: max(1, threads)]
        are_busy = all(station.assignment is not None for station in usual)
        return are_busy and self._stations[-1].assignment is None and any(s.started_at <= since for s in usual)

    def _start(self, station: _Station, assignment: Assignment | None) -> bool:
        """Let an engine work on a part; False where there is none."""
        if assignment is None:
            return False
        station.assignment, station.started_at = assignment, time.perf_counter()
        self._threads.submit(self._run, station, assignment)
        return True

    def _run(self, station: _Station, assignment: Assignment) -> None:
        started = time.thread_time()
        try:
            returned = assignment.part(station.engine)
        except Exception as error:  # the others are not to blame
            returned = error
        self._done.put((station, returned, time.thread_time() - started))

    def _take(self, requests: PartedRequests, done: tuple[_Station, Any, float]) -> None:
        station, returned, seconds = done
        assignment, station.assignment = station.assignment, None
        assert assignment is not None  # noqa: S101
        requests.finish(assignment, returned, seconds)
