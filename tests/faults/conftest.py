"""After every case the same process must still answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.live import LiveServer


@pytest.fixture
def survivor(server: LiveServer) -> Iterator[LiveServer]:
    """The module's server, looked at again after the test."""
    before = server.process.pid
    yield server
    assert server.process.poll() is None, server.log[-2000:]
    assert server.process.pid == before
    assert server.client.get("/livez").json() == {"status": "ok"}
    assert server.ocr(mark=7).json()["text"] == "7"
