"""Whether a client that sends nothing more still waits for its answer: TCP says the same of it as of one that has left.

The system of a client that has left answers whatever reaches it with a reset; that of one that has only ended its own
sending does not. So the client is sent `100 Continue`, which HTTP/1.1 lets a server send before any answer, and which
clients skip.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_PAUSES = (0.005, 0.05, 0.05, 0.05)
"""Seconds behind each question. A proxy in between hands the reset on with the next one; Go's clients skip five."""
_LOOK_SECONDS = 0.02
"""Between two looks for the reset, which parts of an answer bring as well."""


class Presence:
    """Asks a client whether it is there, until it is stopped; one that has left loses its connection.

    Args:
        transport: the connection.
        ask: sends what every client skips, if anything can be sent.
    """

    def __init__(self, transport: asyncio.Transport, ask: Callable[[], None]) -> None:
        self._transport = transport
        self._ask = ask
        self._pauses = iter(_PAUSES)
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def _look(self) -> None:
        sock: socket.socket = self._transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        pause = next(self._pauses, None)
        if pause:
            self._ask()
        self._timer = asyncio.get_running_loop().call_later(pause or _LOOK_SECONDS, self._look)

    def stop(self) -> None:
        """Ask no more."""
        if self._timer:
            self._timer.cancel()
