"""Runs the app with uvicorn: SIGTERM drains, a second one ends at once, the exit status is 0."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_AFTER_DRAIN_SECONDS = 5  # for the answers that say that the time is over


class Server(uvicorn.Server):
    """uvicorn, told by a signal to drain instead of to die by it."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle stop signals in the event loop; uvicorn itself would raise them again at the end."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: no more requests, finish what runs. Second: stop now."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
        self._on_stop()


def serve(app: FastAPI, host: str, port: int, drain_seconds: float) -> None:
    """Serve until a signal, then finish what runs."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11",  # stricter than httptools about headers and hosts
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(drain_seconds) + _AFTER_DRAIN_SECONDS,
    )
    Server(config, app.state.services.lifecycle.drain).run()
