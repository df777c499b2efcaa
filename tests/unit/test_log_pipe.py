"""Log lines for a reader that is slow, asleep or gone: nobody waits for it, and what is lost is counted and told."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fixtures.waiting import eventually
from llm_vision.logs import TextFormatter
from llm_vision.logs.pipe import PipeHandler

PAGE = 4096
LINES = 500
"""Far more than the pipe holds."""


@dataclass
class Pipe:
    """A log that is a pipe of 4 KiB, whose reader is the test."""

    reader: int
    handler: PipeHandler
    log: logging.Logger

    def read(self, most: int = 1 << 20) -> str:
        return os.read(self.reader, most).decode()

    def read_until(self, end: str) -> list[str]:
        """All lines, until the last one ends so."""
        text = ""
        while not text.endswith(f"{end}\n"):
            text += self.read()
        return [line.partition("] ")[2] for line in text.splitlines()]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    handler = PipeHandler(writer, most_bytes=20_000)
    handler.setFormatter(TextFormatter())
    log = logging.Logger("of a pipe")
    log.addHandler(handler)
    yield Pipe(reader, handler, log)
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_a_line_is_there_as_soon_as_it_was_logged(pipe: Pipe) -> None:
    for number in range(10):
        pipe.log.info("line %d", number)
        assert pipe.read().endswith(f"line {number}\n")
    assert pipe.handler._thread is None


def test_lines_wait_for_their_reader_whole_and_in_order(pipe: Pipe) -> None:
    written = [f"line {number}" for number in range(150)]
    for line in written:
        pipe.log.info(line)
    assert pipe.read_until(written[-1]) == written
    pipe.log.info("the next one")
    assert pipe.read_until("the next one") == ["the next one"]


def test_lines_beyond_the_limit_are_counted_and_told_where_they_are_missing(pipe: Pipe) -> None:
    lost = []
    pipe.handler.on_lost = lambda: lost.append(1)
    for number in range(LINES):
        pipe.log.info("line %d", number)
    assert lost
    found = pipe.read_until(f"lines={len(lost)}")
    kept = LINES - len(lost)
    assert found[:-1] == [f"line {number}" for number in range(kept)]
    assert found[-1] == f"lines of the log are missing here, since nobody read them lines={len(lost)}"
    pipe.log.info("the next one")
    assert pipe.read_until("the next one") == ["the next one"]


def test_a_line_is_told_before_what_comes_behind_the_lost_ones(pipe: Pipe) -> None:
    for number in range(LINES):
        pipe.log.info("line %d", number)
    first = pipe.read(PAGE)
    pipe.log.info("the next one")
    rest = (first + "\n".join(["", *pipe.read_until("the next one")])).splitlines()
    assert re.search(r"lines=\d+$", rest[-2])


def test_a_line_longer_than_the_pipe_stays_whole(pipe: Pipe) -> None:
    long = "x" * 50_000 + "."
    pipe.log.info(long)
    pipe.log.info("beyond the limit")
    *found, told = pipe.read_until("lines=1")
    assert found == [long]
    assert "missing" in told


def test_threads_do_not_mix_their_lines(pipe: Pipe) -> None:
    def write(name: int) -> None:
        for number in range(20):
            pipe.log.info("%d writes %d", name, number)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.log.info("over")
    *found, _ = pipe.read_until("over")
    for name in range(8):
        assert [line for line in found if line.startswith(f"{name} ")] == [f"{name} writes {n}" for n in range(20)]


def test_without_a_reader_lines_are_lost_and_nothing_else_happens() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    lost = []
    handler = PipeHandler(writer)
    handler.on_lost = lambda: lost.append(1)
    for _ in range(3):
        handler.handle(logging.makeLogRecord({"msg": "nobody reads it"}))
    handler.flush()
    os.close(writer)
    assert len(lost) == 3


def test_at_the_end_a_slow_reader_gets_all_and_a_sleeping_one_keeps_nobody(pipe: Pipe) -> None:
    for number in range(150):
        pipe.log.info("line %d", number)
    pipe.handler.flush()  # nobody reads: it ends all the same
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.extend(pipe.read_until("line 149")))
    reading.start()
    pipe.handler.flush()
    reading.join()
    assert len(found) == 150


def test_a_record_that_cannot_be_formatted_is_named(pipe: Pipe) -> None:
    pipe.log.warning("%d pages", "many")
    assert "could not be formatted" in pipe.read()


def test_the_thread_ends_when_nothing_waits(pipe: Pipe) -> None:
    for number in range(150):
        pipe.log.info("line %d", number)
    assert pipe.handler._thread is not None
    pipe.read_until("line 149")
    eventually(lambda: pipe.handler._thread is None)
