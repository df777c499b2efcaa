"""A log that is a pipe which nobody reads stops nothing: not an answer, not /livez, not the end of the service."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from fixtures.forking import Forked
from fixtures.live import LiveServer

ASKED = 100


class Unread(LiveServer):
    """Its log is a pipe of 4 KiB; the test may read it."""

    def __init__(self, folder: Path) -> None:
        self.reader, self._writer = os.pipe()
        fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, 4096)
        super().__init__(folder)
        os.close(self._writer)

    def _launch(self, environment: Mapping[str, str], under: Sequence[str]) -> Forked:
        log = Path(f"/proc/{os.getpid()}/fd/{self._writer}")
        return Forked("fixtures.serve:main", (self.port,), self.folder, environment, log)

    def ask(self) -> None:
        """Have many lines logged."""
        for number in range(ASKED):
            answer = self.client.get("/version", headers={"X-Request-Id": f"n{number}"})
            assert answer.status_code == 200


@pytest.fixture
def unread(tmp_path: Path) -> Iterator[Unread]:
    server = Unread(tmp_path)
    yield server
    server.kill()
    os.close(server.reader)


def test_who_reads_no_log_keeps_nobody_waiting(unread: Unread) -> None:
    unread.ask()
    assert unread.ocr(mark=5).json()["text"] == "5"
    assert unread.client.get("/livez").json() == {"status": "ok"}
    assert unread.metric("llm_vision_log_lines_lost_total") == 0
    assert unread.stop() == 0


def test_all_lines_come_in_order_when_they_are_read_and_the_last_ones_at_the_end(unread: Unread) -> None:
    unread.ask()
    pieces: list[bytes] = []

    def read() -> None:
        while piece := os.read(unread.reader, 65536):
            pieces.append(piece)

    reading = threading.Thread(target=read)
    reading.start()
    assert unread.stop() == 0
    reading.join()
    text = b"".join(pieces).decode()
    places = [text.index(f"[n{number}]") for number in range(ASKED)]
    assert places == sorted(places)
    assert text.splitlines()[-1].rpartition("Finished server process")[1]
