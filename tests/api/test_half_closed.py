"""Clients that end their sending behind a request, as `nc -N` does, get its answer; who has left is noticed."""

from __future__ import annotations

import re
import socket

import pytest

from fixtures.live import LiveServer, Start
from fixtures.proxy import CopyingProxy
from fixtures.raw_http import connect, is_closed, read_answer, request
from fixtures.requests import ocr_request
from fixtures.waiting import eventually

LIVEZ = request("/livez", method="GET")
UNKNOWN = request("/nothing", method="GET")


def half_closed(port: int, data: bytes) -> socket.socket:
    """A connection whose client has sent this and sends nothing more."""
    sock = connect(port)
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
    return sock


def received(sock: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    found = b""
    while data := sock.recv(65536):
        found += data
    return found


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_quick_answer_comes_and_ends_the_connection(server: LiveServer, version: bytes) -> None:
    with half_closed(server.port, LIVEZ.replace(b"1.1", version, 1)) as sock:
        assert read_answer(sock, "GET").status == 200
        assert is_closed(sock)


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
def test_a_slow_answer_comes_as_well(start_server: Start, version: bytes) -> None:
    server = start_server()
    with half_closed(server.port, ocr_request("wait_for", mark=3).replace(b"HTTP/1.1", version, 1)) as sock:
        eventually(lambda: server.journal_has("started 3"))
        assert not is_closed(sock, patience=0.5), "longer than it takes to find out who has left"
        server.go()
        head, _, answer = received(sock).rpartition(b"HTTP/1.1 200")
        assert b'"text":"3"' in answer
        assert set(re.findall(rb"HTTP/1.1 (\d+)", head)) <= ({b"100"} if version == b"HTTP/1.1" else set())
    assert server.journal_has("finished 3")


def test_all_that_was_sent_before_is_answered(server: LiveServer) -> None:
    with half_closed(server.port, LIVEZ + UNKNOWN + LIVEZ + b"GET /li") as sock:
        found = received(sock)
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", found)
    assert [status for status in statuses if status != b"100"] == [b"200", b"404", b"200"]


@pytest.mark.parametrize("data", [b"", b"GET /li", ocr_request()[:-20]], ids=["nothing", "half a head", "half a body"])
def test_half_a_request_is_no_request(server: LiveServer, data: bytes) -> None:
    with half_closed(server.port, data) as sock:
        assert received(sock) == b""


@pytest.mark.parametrize("is_behind_proxy", [False, True], ids=["directly", "through a proxy"])
def test_promise_10_a_client_that_has_left_is_noticed(server: LiveServer, *, is_behind_proxy: bool) -> None:
    mark = 11 + is_behind_proxy
    with CopyingProxy(server.port) as proxy:
        with connect(proxy.port if is_behind_proxy else server.port) as sock:
            sock.sendall(ocr_request("wait_for", mark=mark))
            eventually(lambda: server.journal_has(f"started {mark}"))
        eventually(lambda: server.journal_has(f"cancelled {mark}"))


def test_promise_10_a_client_that_leaves_after_half_closing_is_noticed(server: LiveServer) -> None:
    with half_closed(server.port, ocr_request("wait_for", mark=13)) as sock:
        eventually(lambda: server.journal_has("started 13"))
        assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n")
    eventually(lambda: server.journal_has("cancelled 13"))


def test_promise_10_a_proxy_hands_half_closing_on(server: LiveServer) -> None:
    with CopyingProxy(server.port) as proxy, half_closed(proxy.port, LIVEZ) as sock:
        assert read_answer(sock, "GET").status == 200
