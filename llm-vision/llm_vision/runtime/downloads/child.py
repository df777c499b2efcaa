"""The download process: fetches one repository, tells how far it is, and ends with the gateway.

Started as `python -P -m llm_vision.runtime.downloads.child FD PARENT_PID ORDER_JSON`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from ...child_log import tell_exception
from ...guard import guard_process
from ...models.base import UnusableWeights
from ..processes import wire
from ..weights.place import DownloadPlace
from .fetching import Fetching, NoSpace, bytes_in
from .hub import HubFailed

_TELL_SECONDS = 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class _Progress:
    """What the gateway is told, once a second."""

    sock: socket.socket
    work: Path
    state: str = "starting"
    total: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def change(self, state: str, total: int | None = None) -> None:
        self.state, self.total = state, total
        self.tell()

    def tell(self) -> None:
        done = min(bytes_in(self.work), self.total or 0)
        self.send({"type": "progress", "state": self.state, "done": done, "total": self.total})

    def send(self, header: wire.Header) -> None:
        with self._lock:
            wire.send_blocking(self.sock, header)

    def tell_forever(self) -> None:
        with contextlib.suppress(OSError):
            while not threading.Event().wait(_TELL_SECONDS):
                self.tell()


def _end_with_the_gateway(sock: socket.socket) -> None:
    """Whatever comes from there, or its end, is the end of this; what has come stays on the volume."""
    with contextlib.suppress(wire.PeerClosed, wire.BadFrame, OSError):
        wire.receive_blocking(sock.makefile("rb"))
    os._exit(0)


def _fetch(order: dict[str, str], place: DownloadPlace, progress: _Progress) -> None:
    with place.claimed(lambda: progress.change("waiting")):
        if not place.is_whole:  # somebody else may have fetched it while we waited
            Fetching(place, order["revision"], bool(order["may_be_pickled"]), progress.change).run()


def _failure(error: Exception) -> wire.Header:
    """What went wrong, in our words."""
    code, reason = "model_load_failed", f"the download failed ({type(error).__name__})"
    if isinstance(error, HubFailed | UnusableWeights):
        reason = str(error)
    elif isinstance(error, NoSpace):
        code, reason = "storage_full", str(error)
    elif isinstance(error, OSError) and error.errno in _FULL:
        code, reason = "storage_full", "the volume is full"
    elif isinstance(error, OSError):
        reason = "the volume cannot be written"
    return {"type": "failed", "code": code, "reason": reason}


def main() -> None:
    """Fetch what the order says."""
    descriptor, parent_pid, order = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    guard_process(parent_pid)
    place = DownloadPlace(Path(order["root"]), order["repo"])
    sock = socket.socket(fileno=descriptor)
    progress = _Progress(sock, place.work)
    threading.Thread(target=_end_with_the_gateway, args=(sock,), daemon=True).start()
    threading.Thread(target=progress.tell_forever, daemon=True).start()
    try:
        _fetch(order, place, progress)
        progress.send({"type": "done"})
    except Exception as error:
        tell_exception(error, logging.DEBUG)  # the gateway logs the reason
        progress.send(_failure(error))
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
