"""One live server for the tests of a module; tests that need other settings start their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from fixtures.live import LiveServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    started = LiveServer(tmp_path_factory.mktemp("server"))
    yield started
    assert started.stop() == 0, started.log


@pytest.fixture
def client(server: LiveServer) -> httpx2.Client:
    return server.client


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., LiveServer]]:
    """Starts a server with settings of its own; it is stopped after the test."""
    started: list[LiveServer] = []

    def start(environment: Mapping[str, str] | None = None) -> LiveServer:
        folder = tmp_path / f"server{len(started)}"
        folder.mkdir()
        started.append(LiveServer(folder, environment))
        return started[-1]

    yield start
    for one in started:
        one.stop()
