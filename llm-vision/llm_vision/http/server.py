"""Runs the app with uvicorn: SIGTERM, SIGINT or SIGHUP drains, a second one ends at once, the exit status is 0."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from .. import logs
from .connection import ConnectionRules, DeadlineProtocol
from .limits import MAX_HEADER_BYTES, MAX_URL_BYTES

log = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_BACKLOG = 2048
_MOST_CONNECTIONS = 4096
_MOST_OPEN_FILES = 2 * _MOST_CONNECTIONS + 1024
_OTHER_FILES, _FILES_PER_CONNECTION = 96, 2  # libraries, processes, WebSockets; a socket and a spooled upload
_AFTER_DRAIN_SECONDS = 5  # for the answers that say that the time is over
_LAST_WORDS_SECONDS = 0.5  # for the same answers, when a second signal has come
_TICK_SECONDS, _TELLING_TICKS = 0.1, 5  # /readyz and kept connections answer 503 for half a second
_MAX_HEAD_BYTES = 2 * (MAX_URL_BYTES + MAX_HEADER_BYTES)  # the gate answers what is a little too large


class Server(uvicorn.Server):
    """uvicorn that drains at a signal instead of dying by it.

    Args:
        config: of uvicorn.
        on_stop: called at the first signal.
        on_hurry: called at the next one: what runs is to be ended.
    """

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None], on_hurry: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._on_hurry = on_hurry
        self._is_hurried = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle stop signals in the event loop; uvicorn itself would raise them again at the end."""
        loop = asyncio.get_running_loop()
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()  # as nohup asks
        handled = [number for number in _STOP_SIGNALS if number not in ignored]
        for number in handled:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: no more requests, finish what runs. Second: stop now."""
        if not self.should_exit:
            self.should_exit = True
            self._on_stop()
        elif not self._is_hurried:
            self._is_hurried = True
            self._on_hurry()
            asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._force)

    def _force(self) -> None:
        self.force_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests, then stop listening and end what runs."""
        for _ in range(_TELLING_TICKS):
            if not self._is_hurried:
                await asyncio.sleep(_TICK_SECONDS)
        await super().shutdown(sockets)


@dataclass(frozen=True)
class Seconds:
    """Deadlines: of a request's head, of its body, and of what runs when the service is stopped."""

    header: float
    body: float
    drain: float


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, before anything is started.

    Raises:
        OSError: the address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's delay on
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    shown = f"[{host}]" if family == socket.AF_INET6 else host
    address = f"http://{shown}:{sock.getsockname()[1]}"
    log.info("listening on %s; %s/docs shows every route", address, address)
    return sock


def _raise_open_files() -> int:
    """Let this process open as many files as it may need and the system allows; the limit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else soft


def serve(app: FastAPI, sock: socket.socket, seconds: Seconds) -> None:
    """Serve until a signal, then finish what runs."""
    services = app.state.services
    logs.count_lost(services.metrics.count_lost_log_line)
    rules = ConnectionRules(
        header_seconds=seconds.header,
        body_seconds=seconds.body,
        most=min(_MOST_CONNECTIONS, (_raise_open_files() - _OTHER_FILES) // _FILES_PER_CONNECTION),
        on_refused=services.metrics.count_error,
        on_pushed_out=services.metrics.count_pushed_out,
    )
    config = uvicorn.Config(
        app,
        workers=1,  # not what WEB_CONCURRENCY says
        loop="asyncio",  # uvloop, which uvicorn prefers where it is installed, cannot start our processes
        http=DeadlineProtocol.configured(rules),  # on h11, which is stricter than httptools
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(seconds.drain) + _AFTER_DRAIN_SECONDS,
    )
    Server(config, services.lifecycle.drain, services.lifecycle.hurry).run([sock])
