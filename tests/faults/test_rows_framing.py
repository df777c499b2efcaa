"""Rows 1-15 of docs/reliability.md: what is no HTTP, or too much of it, sent as raw bytes."""

from __future__ import annotations

import contextlib
import re
import socket
import time

import psutil
import pytest

from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.problems import check
from fixtures.raw_http import PATIENCE, connect, drip, is_closed, read_answer, request, send_raw

HOST = b"Host: 127.0.0.1\r\n"
TLS_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60)


@pytest.mark.parametrize(
    "data", [b"hello there\r\n\r\n", TLS_HELLO, b"\x00" * 100 + b"\r\n\r\n"], ids=["text", "tls", "nul"]
)
def test_row_01_garbage_on_the_port(survivor: LiveServer, data: bytes) -> None:
    check(send_raw(survivor.port, data), 400, "malformed_http", closed=True)


SETTINGS_FRAME = b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64"
"""What a client of HTTP/2 sends behind its first lines (RFC 9113, 3.4 and 6.5)."""


@pytest.mark.parametrize(
    "data",
    [
        b"GET /livez HTTP/1.9\r\n" + HOST + b"\r\n",
        b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n",
        b"POST /ocr HTTP/0.9\r\n" + HOST + b"Content-Length: 10\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS_FRAME,
    ],
    ids=["1.9", "2.0", "0.9", "http2"],
)
def test_row_01_other_versions(survivor: LiveServer, data: bytes) -> None:
    check(send_raw(survivor.port, data), 505, "http_version_not_supported", closed=True)


def test_row_02_both_lengths(survivor: LiveServer) -> None:
    head = b"POST /models/load HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    check(send_raw(survivor.port, head + b"0\r\n\r\n"), 400, "malformed_http", closed=True)


@pytest.mark.parametrize("lengths", [(b"4", b"5"), (b"-1",), (b"4x",), (b"+4",), (b"9" * 25,)])
def test_row_03_impossible_lengths(survivor: LiveServer, lengths: tuple[bytes, ...]) -> None:
    lines = b"".join(b"Content-Length: " + length + b"\r\n" for length in lengths)
    check(
        send_raw(survivor.port, b"POST /ocr HTTP/1.1\r\n" + HOST + lines + b"\r\nabcd"),
        400,
        "malformed_http",
        closed=True,
    )


@pytest.mark.parametrize("size", [b"xyz", b"-5", b"fffffffffffffffffffffffff"])
def test_row_04_bad_chunk_size(survivor: LiveServer, size: bytes) -> None:
    head = b"POST /ocr HTTP/1.1\r\n" + HOST + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = send_raw(survivor.port, head + size + b"\r\nabc\r\n")
    check(answer, 400, "malformed_http", closed=True)


CHUNKED_PICTURE = (
    b"POST /ocr?engine=faulty HTTP/1.1\r\n" + HOST + (b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
)


def test_row_04_a_great_many_tiny_chunks(survivor: LiveServer) -> None:
    answer = send_raw(survivor.port, CHUNKED_PICTURE + b"1\r\nx\r\n" * 5000)
    check(answer, 400, "malformed_http", closed=True)


def test_row_04_many_small_chunks_are_a_body_like_any_other(survivor: LiveServer) -> None:
    data = picture_bytes(mark=9) + bytes(400_000)
    chunks = [b"c8\r\n" + data[at : at + 200].ljust(200, b"\0") + b"\r\n" for at in range(0, len(data), 200)]
    answer = send_raw(survivor.port, CHUNKED_PICTURE + b"".join(chunks) + b"0\r\n\r\n")
    assert answer.problem["text"] == "9"


@pytest.mark.parametrize("hosts", [b"", HOST + HOST], ids=["missing", "double"])
def test_row_05_missing_or_double_host(survivor: LiveServer, hosts: bytes) -> None:
    check(send_raw(survivor.port, b"GET /livez HTTP/1.1\r\n" + hosts + b"\r\n"), 400, "malformed_http", closed=True)


@pytest.mark.parametrize(
    "host", ["a/b?c#d@e", "a b", "127.0.0.1:99999999", "127.0.0.1:http", "[::1", "evil.example", ""]
)
def test_row_06_broken_or_foreign_host(survivor: LiveServer, host: str) -> None:
    check(send_raw(survivor.port, request("/version", method="GET", headers={"Host": host})), 400, "invalid_host")


@pytest.mark.parametrize("target", ["@evil.com/x", "livez", "/a b"])
def test_row_07_broken_target(survivor: LiveServer, target: str) -> None:
    check(send_raw(survivor.port, request(target, method="GET")), 400, "malformed_http")


@pytest.mark.parametrize("size", [9 * 1024, 100 * 1024, 300 * 1024])
def test_row_08_long_url(survivor: LiveServer, size: int) -> None:
    check(send_raw(survivor.port, request("/" + "a" * size, method="GET")), 414, "uri_too_long")
    check(send_raw(survivor.port, request("/livez?" + "a" * size, method="GET")), 414, "uri_too_long")


@pytest.mark.parametrize(
    "lines",
    [{f"X-{n}": "y" for n in range(120)}, {"X-A": "y" * 70_000}, {"X-A": "y" * 400_000}],
    ids=["many", "large", "huge"],
)
def test_row_09_too_many_or_too_large_headers(survivor: LiveServer, lines: dict[str, str]) -> None:
    check(send_raw(survivor.port, request("/livez", method="GET", headers=lines)), 431, "headers_too_large")


@pytest.fixture(scope="module")
def impatient(start_module_server: Start) -> LiveServer:
    """A server with short deadlines."""
    return start_module_server({"VISION_HEADER_SECONDS": "0.5", "VISION_BODY_SECONDS": "0.7"})


STALLS = {"nothing": b"", "half_a_line": b"GET /li", "half_a_head": b"GET /livez HTTP/1.1\r\nHost: 127.0"}


@pytest.mark.parametrize("start", STALLS.values(), ids=STALLS)
def test_row_10_stalled_headers(impatient: LiveServer, start: bytes) -> None:
    with connect(impatient.port) as sock:
        sock.sendall(start)
        assert is_closed(sock)


def test_row_10_dripped_headers(impatient: LiveServer) -> None:
    with connect(impatient.port) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\n")
        assert drip(sock, b"X-Slow: a\r\n", 0.1)


def test_row_10_stalled_after_an_answer(impatient: LiveServer) -> None:
    with connect(impatient.port) as sock:
        sock.sendall(request("/livez", method="GET"))
        assert not read_answer(sock, "GET").is_closed
        sock.sendall(b"GET /livez HTTP/1.1\r\nHo")
        assert is_closed(sock)


@pytest.mark.parametrize("route", ["/ocr", "/models/load"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_row_11_stalled_body(impatient: LiveServer, route: str, *, chunked: bool) -> None:
    length = b"Transfer-Encoding: chunked\r\n\r\n5\r\n{" if chunked else b"Content-Length: 1000\r\n\r\n{"
    head = f"POST {route} HTTP/1.1\r\nContent-Type: application/json\r\n".encode()
    check(send_raw(impatient.port, head + HOST + length), 408, "request_timeout", closed=True)


def test_row_11_dripped_body(impatient: LiveServer) -> None:
    with connect(impatient.port) as sock:
        sock.sendall(b"POST /ocr HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n" + HOST + b"\r\n")
        for _ in range(8):
            with contextlib.suppress(OSError):
                sock.sendall(b"x")
            time.sleep(0.15)
        check(read_answer(sock), 408, "request_timeout", closed=True)


def test_row_11_a_body_that_nobody_reads_is_cut_off(impatient: LiveServer) -> None:
    with connect(impatient.port) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nContent-Length: 1000\r\n" + HOST + b"\r\n")
        assert drip(sock, b"x", 0.1)


def test_row_12_expected_body_is_refused_without_100(survivor: LiveServer) -> None:
    head = {"Expect": "100-continue", "Content-Length": "99000000000", "Content-Type": "image/png"}
    with connect(survivor.port) as sock:
        sock.sendall(request("/ocr", headers=head))
        first = sock.recv(32)
        assert first.startswith(b"HTTP/1.1 413 ")
    check(send_raw(survivor.port, request("/ocr", headers=head)), 413, "payload_too_large", closed=True)


def test_row_13_wrong_method_and_unknown_route(survivor: LiveServer) -> None:
    check(send_raw(survivor.port, request("/ocr/page", method="GET")), 405, "method_not_allowed")
    check(send_raw(survivor.port, request("/models/load", method="DELETE")), 405, "method_not_allowed")
    check(send_raw(survivor.port, request("/nothing", method="GET")), 404, "not_found")
    check(send_raw(survivor.port, request("/ocr/../models/load", b"{}")), 404, "not_found")


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip", "br", "identity, gzip"])
def test_row_14_compressed_body(survivor: LiveServer, encoding: str) -> None:
    headers = {"Content-Encoding": encoding, "Content-Type": "image/png"}
    check(send_raw(survivor.port, request("/ocr", b"\x1f\x8b", headers=headers)), 415, "unsupported_encoding")


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/mixed; boundary=a", "", "image"]
)
@pytest.mark.parametrize("route", ["/ocr", "/analyze_image"])
def test_row_15_wrong_content_type_on_a_picture_route(survivor: LiveServer, route: str, kind: str) -> None:
    check(
        send_raw(survivor.port, request(route, b"a=b", headers={"Content-Type": kind})), 415, "unsupported_media_type"
    )


@pytest.mark.parametrize("origin", ["http://[", "http://a]", "http://[::1", "null", "://", "\xff"])
def test_a_broken_origin_is_a_foreign_one(survivor: LiveServer, origin: str) -> None:
    headers = {"Origin": origin, "Content-Type": "application/json"}
    check(send_raw(survivor.port, request("/models/load", b"{}", headers=headers)), 403, "forbidden")


def test_methods_from_clients_are_no_labels(survivor: LiveServer) -> None:
    for method in ("BREW", "X" * 5000):
        assert send_raw(survivor.port, request("/livez", method=method)).status == 405
    metrics = survivor.client.get("/metrics").text
    assert 'method="other"' in metrics
    assert "BREW" not in metrics + survivor.log
    assert "XXXX" not in metrics + survivor.log


def test_a_body_that_breaks_behind_its_answer_ends_the_connection(survivor: LiveServer) -> None:
    with connect(survivor.port) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        assert read_answer(sock, "GET").status == 200
        sock.sendall(b"no chunk size\r\n")
        assert is_closed(sock)
    assert "Traceback" not in survivor.log


def test_pipelined_requests_are_answered_in_order(survivor: LiveServer) -> None:
    with connect(survivor.port) as sock:
        sock.sendall(
            request("/livez", method="GET") + request("/nothing", method="GET") + request("/livez", method="GET")
        )
        received = b""
        while received.count(b"HTTP/1.1 ") < 3 and (data := sock.recv(65536)):
            received += data
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", received)]
    assert statuses == [200, 404, 200]


def test_an_answer_that_nobody_fetches_is_given_up(start_server: Start) -> None:
    server = start_server({"VISION_BODY_SECONDS": "0.7"})
    with connect(server.port) as sock:
        sock.sendall(request("/docs/swagger-ui-bundle.js", method="GET") * 40)
        time.sleep(3)
        received = 0
        with contextlib.suppress(OSError):
            while data := sock.recv(1 << 20):
                received += len(data)
        assert is_closed(sock)
    assert server.client.get("/livez").status_code == 200


def test_the_rest_of_an_answer_that_nobody_fetches_is_given_up_at_the_end(start_server: Start) -> None:
    """Less than the transport's high-water mark stays unsent: writing is never paused, and yet the end must come."""
    server = start_server({"VISION_BODY_SECONDS": "0.7"})
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect(("127.0.0.1", server.port))
    with sock:
        gateway = psutil.Process(server.process.pid)
        sock.sendall(request("/openapi.json", method="GET", headers={"Connection": "close"}) * 1)
        ends = time.monotonic() + PATIENCE
        while any(found.raddr and found.raddr.port == sock.getsockname()[1] for found in gateway.net_connections()):
            assert time.monotonic() < ends
            time.sleep(0.05)
