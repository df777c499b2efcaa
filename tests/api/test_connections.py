"""What is remembered of connections: nothing, once they have ended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from fixtures.raw_http import connect, read_answer
from fixtures.waiting import eventually
from llm_vision.http.connection import ConnectionRules, DeadlineProtocol

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nab"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes the whole body, then says ok, whether or not somebody still listens."""
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await PlainTextResponse("ok")(scope, receive, send)


@pytest.fixture
def protocol() -> Iterator[tuple[type[DeadlineProtocol], int]]:
    """A server of its own in this process: its protocol and its port."""
    rules = ConnectionRules(5, 5, 100, lambda code: None, lambda: None)
    configured = DeadlineProtocol.configured(rules)
    config = uvicorn.Config(app, http=configured, ws="none", log_config=None, h11_max_incomplete_event_size=65536)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    eventually(lambda: server.started)
    yield configured, listening.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("data", [GET, CLOSE, GET + GET])
def test_a_connection_that_was_answered_is_forgotten(protocol: tuple[type[DeadlineProtocol], int], data: bytes) -> None:
    configured, port = protocol
    for _ in range(5):
        with connect(port) as sock:
            sock.sendall(data)
            assert read_answer(sock, "GET").status == 200
    eventually(lambda: not len(configured.crowd))


@pytest.mark.parametrize("data", [b"", b"GET / HT", UPLOAD])
def test_a_client_that_leaves_is_forgotten(protocol: tuple[type[DeadlineProtocol], int], data: bytes) -> None:
    configured, port = protocol
    with connect(port) as sock:
        sock.sendall(data)
        eventually(lambda: len(configured.crowd))
    eventually(lambda: not len(configured.crowd))
