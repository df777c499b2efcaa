"""Bodies that are too large or break off: how much is read of them, and what they leave on the disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fixtures.crowd import Timed, all_at_once
from fixtures.live import LiveServer
from fixtures.multipart import CONTENT_TYPE, part
from fixtures.raw_http import RawAnswer, connect, read_answer, request
from fixtures.requests import ocr_request
from fixtures.waiting import until

STEP = 16 * 1024
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Refusal:
    """How many bytes of a body were taken before it was refused."""

    kind: str
    over_limit: int
    answer: RawAnswer


def _send_until_refused(sock: socket.socket, data: bytes, fast: int) -> int:
    """Send the first bytes at once, then steps with pauses; the bytes sent when an answer came."""
    sent = fast
    with contextlib.suppress(OSError):
        sock.sendall(data[:fast])
        time.sleep(1.0)  # all of it is read now
        while sent < len(data) and not select.select([sock], [], [], 0.05)[0]:
            sock.sendall(data[sent : sent + STEP])
            sent += STEP
    return sent


def _chunks(body: bytes) -> bytes:
    pieces = [body[start : start + STEP] for start in range(0, len(body), STEP)]
    return b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in pieces)


def refusals(server: LiveServer, file_limit: int, body_limit: int) -> list[Refusal]:
    """Bodies above the limits in every encoding; limits in bytes."""
    start = part(b"x" * (file_limit + MEBIBYTE // 2))
    json_start = b'{"image": "' + b"x" * (body_limit + MEBIBYTE)
    cases = {
        "multipart, known length": (CONTENT_TYPE, start, file_limit, False),
        "multipart, chunked": (CONTENT_TYPE, start, file_limit, True),
        "raw, chunked": ("image/png", b"x" * (body_limit + MEBIBYTE), body_limit, True),
        "JSON, chunked": ("application/json", json_start, body_limit, True),
    }
    found = []
    for kind, (content_type, body, limit, is_chunked) in cases.items():
        length = {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(body))}
        head = request("/ocr", headers={"Content-Type": content_type, **length})
        head = head.replace(b"Content-Length: 0\r\n", b"") if is_chunked else head
        with connect(server.port) as sock:
            sock.sendall(head)
            sent = _send_until_refused(sock, _chunks(body) if is_chunked else body, limit - STEP)
            found.append(Refusal(kind, max(0, sent - limit), read_answer(sock)))
    for kind, headers in {
        "declared too large": {"Content-Length": str(body_limit + 1), "Content-Type": "image/png"},
        "gzip": {"Content-Length": "1000", "Content-Encoding": "gzip", "Content-Type": "image/png"},
    }.items():
        with connect(server.port) as sock:
            sock.sendall(request("/ocr", headers=headers))
            found.append(Refusal(kind, 0, read_answer(sock)))
    return found


def temporary_bytes(server: LiveServer) -> int:
    """Bytes that the gateway holds in its temporary folder, deleted names included."""
    total = 0
    for entry in os.scandir(f"/proc/{server.process.pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(entry.path).startswith(str(server.temporary)):
                total += Path(entry.path).stat().st_size
    return total


async def concurrent_uploads(server: LiveServer, count: int, size: int) -> int:
    """Bytes on the disk while uploads of one size are all nearly complete."""
    writers = []
    head = request("/ocr", headers={"Content-Type": CONTENT_TYPE, "Content-Length": str(size + 10_000)})
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + part(b"x" * size)[:size])
        await writer.drain()
        writers.append(writer)
    await until(lambda: temporary_bytes(server) >= count * (size - MEBIBYTE))
    held = temporary_bytes(server)
    for writer in writers:
        writer.close()
    await until(lambda: temporary_bytes(server) == 0)
    return held


@dataclass(frozen=True)
class Uploads:
    """Good and broken uploads, and what they left."""

    statuses: Counter[int]
    aborted: int
    entries_left: int


async def many_uploads(server: LiveServer, good: int, aborted: int) -> Uploads:
    """Uploads of which some break off half-way."""
    statuses: Counter[int] = Counter()
    data = ocr_request()
    large = request("/ocr", headers={"Content-Type": CONTENT_TYPE, "Content-Length": "4000000"}) + part(
        b"x" * 3_000_000
    )
    for start in range(0, good, 20):
        answers: list[Timed] = await all_at_once(server.port, [data] * min(20, good - start))
        statuses.update(answer.status for answer in answers)
    for number in range(aborted):
        with connect(server.port) as sock:
            sock.sendall(large[: random.Random(number).randrange(200, 2_500_000)])
    await until(lambda: server.metric('llm_vision_errors_total{code="client_closed"}') == aborted)
    return Uploads(statuses, aborted, len(os.listdir(server.temporary)))


def kill_while_uploading(server: LiveServer) -> list[str]:
    """kill -9 with large uploads under way; what lies in the temporary folder afterwards."""
    head = request("/ocr", headers={"Content-Type": CONTENT_TYPE, "Content-Length": "9000000"})
    sockets = [connect(server.port) for _ in range(3)]
    for sock in sockets:
        sock.sendall(head + part(b"x" * 6_000_000)[:5_000_000])
    ends = time.monotonic() + 10
    while temporary_bytes(server) < 3 * MEBIBYTE and time.monotonic() < ends:
        time.sleep(0.01)
    assert temporary_bytes(server) >= 3 * MEBIBYTE
    server.process.kill()
    server.process.wait()
    for sock in sockets:
        sock.close()
    return os.listdir(server.temporary)
