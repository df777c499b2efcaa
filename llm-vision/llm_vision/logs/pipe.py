"""Log lines for a reader that may be slow or gone: it keeps nobody waiting, and lines that are lost are told."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import Context

MOST_WAITING_BYTES = 1024 * 1024
_LAST_SECONDS, _LAST_PATIENCE = 5.0, 0.5  # for what waits at the end, and for a reader that takes nothing of it
_TRY_AGAIN_SECONDS = 0.05
_LOST = "lines of the log are missing here, since nobody read them"
_UNFORMATTED = "a line of the log could not be formatted"


class PipeHandler(logging.Handler):
    """Writes each line at once, as long as that keeps nobody waiting; else a thread does, when the reader takes more.

    Args:
        descriptor: where to.
        most_bytes: that wait for the reader; lines beyond that are lost.
    """

    def __init__(self, descriptor: int, most_bytes: int = MOST_WAITING_BYTES) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._is_broken = False
        self._thread: threading.Thread | None = None
        self.on_lost: Callable[[], None] = lambda: None
        """Called for each line that is lost."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._encode(record)
        except Exception:  # whatever its arguments raise
            self.handleError(record)
        else:
            self._send(line)

    def handleError(self, record: logging.LogRecord) -> None:
        """Name a record that cannot be written; logging itself would print a traceback and wait for the reader."""
        unformatted = logging.makeLogRecord({**record.__dict__, "msg": _UNFORMATTED, "args": None, "exc_info": None})
        self._send(self._encode(unformatted))

    def flush(self) -> None:
        """Give the reader some time for what waits; called at the end of the process."""
        ends = time.monotonic() + _LAST_SECONDS
        with self._held():
            while self._waiting and time.monotonic() < ends and self._has_room(_LAST_PATIENCE):
                self._send_waiting()

    def _encode(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode("utf-8", "backslashreplace")

    def _send(self, line: bytes) -> None:
        self._send_waiting()
        if self._waiting_bytes and self._waiting_bytes + len(line) > self._most_bytes:
            self._lose()
            return
        self._tell_lost()
        self._keep(line)
        self._send_waiting()
        if self._waiting and self._thread is None:
            self._start_thread()

    def _keep(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _lose(self) -> None:
        self._lost += 1
        self.on_lost()

    def _tell_lost(self) -> None:
        """Have the log say at this place that lines are missing, unless nobody would ever read that either."""
        if self._lost and not self._is_broken:
            level = {"levelno": logging.WARNING, "levelname": logging.getLevelName(logging.WARNING)}
            told = logging.makeLogRecord({"name": __name__, **level, "msg": _LOST, "lines": self._lost})
            self._lost = 0
            self._keep(Context().run(self._encode, told))  # in nobody's request

    def _send_waiting(self) -> None:
        """Write as much of what waits as the reader takes at once; the rest of a line stays the first."""
        while self._waiting and self._has_room(0):
            line = self._waiting[0]
            try:
                written = os.write(self._descriptor, line[: select.PIPE_BUF])
            except BlockingIOError:
                return
            except OSError:  # the reader is gone, or the disk is full
                self._is_broken = True
                self._waiting_bytes -= len(self._waiting.popleft())
                self._lose()
                continue
            self._is_broken = False
            self._waiting_bytes -= written
            if written < len(line):
                self._waiting[0] = line[written:]
                continue
            self._waiting.popleft()
            if not self._waiting:
                self._tell_lost()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._send_when_there_is_room, name="log", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread is to be had: what waits goes with the next line
            thread.start()
            self._thread = thread

    def _has_room(self, seconds: float | None) -> bool:
        """Whether so many bytes as a pipe takes in one piece can be written without waiting."""
        room = select.poll()  # one that a thread waits with cannot be asked by another
        room.register(self._descriptor, select.POLLOUT)
        return bool(room.poll(None if seconds is None else seconds * 1000))

    def _send_when_there_is_room(self) -> None:
        while True:
            self._has_room(None)
            with self._held():
                self._send_waiting()
                if not self._waiting:
                    self._thread = None
                    return
                has_room = self._has_room(0)
            if has_room:  # but not for a whole piece
                time.sleep(_TRY_AGAIN_SECONDS)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()
