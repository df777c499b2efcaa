"""Frames between the gateway and a worker process: a JSON header and raw bytes, no pickled objects.

A frame is two unsigned 32-bit lengths in network order, then the header as UTF-8 JSON, then the
payload. Both lengths are capped, so that a broken peer cannot make the other side allocate.

To a worker:    batch, cancel, stop          From it: ready, load_error, token, end, batch_end
To a decoder:   decode, go, skip, stop       From it: ready, measured, decoded, refused
To a download:  stop                         From it: progress, done, failed
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Sequence
from io import BufferedReader
from typing import Any

Header = dict[str, Any]

_LENGTHS = struct.Struct("!II")
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_PAYLOAD_BYTES = 1024 * 1024 * 1024
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024  # a page in few system calls
DEVICE_LOST = 70
"""Exit status of a worker process whose GPU has failed: a new one is the only way on."""


class PeerClosed(Exception):
    """The other side closed the connection."""


class BadFrame(Exception):
    """A frame that is larger than either side may send."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets with buffers large enough for a page."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    return ours, theirs


def encode(header: Header, payload_bytes: int = 0) -> bytes:
    """The start of a frame, behind which the payload follows.

    Raises:
        BadFrame: the header or payload is too large.
        ValueError: the header holds NaN, infinity or something that is not JSON.
    """
    head = _json(header)
    _check_lengths(len(head), payload_bytes)
    return _LENGTHS.pack(len(head), payload_bytes) + head


def encoded_size(part: Header) -> int:
    """Bytes that a part of a header takes."""
    return len(_json(part))


def _json(value: Header) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _check_lengths(header_bytes: int, payload_bytes: int) -> None:
    if header_bytes > MAX_HEADER_BYTES or payload_bytes > MAX_PAYLOAD_BYTES:
        raise BadFrame(f"a frame of {header_bytes} + {payload_bytes} bytes")


async def send(sock: socket.socket, header: Header, buffers: Sequence[bytes | bytearray] = ()) -> None:
    """Send a frame from an event loop; one sender at a time."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, encode(header, sum(map(len, buffers))))
    for buffer in buffers:
        await loop.sock_sendall(sock, buffer)


async def receive(sock: socket.socket) -> tuple[Header, bytearray]:
    """Receive a frame in an event loop.

    Raises:
        PeerClosed: the other side is gone.
        BadFrame: it is larger than it may be.
    """
    header_bytes, payload_bytes = _LENGTHS.unpack(await _receive_exactly(sock, _LENGTHS.size))
    _check_lengths(header_bytes, payload_bytes)
    header: Header = json.loads(await _receive_exactly(sock, header_bytes))
    return header, await _receive_exactly(sock, payload_bytes)


async def _receive_exactly(sock: socket.socket, size: int) -> bytearray:
    loop = asyncio.get_running_loop()
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        count = await loop.sock_recv_into(sock, view[filled:])
        if not count:
            raise PeerClosed
        filled += count
    return data


def send_blocking(sock: socket.socket, header: Header, payload_bytes: int = 0) -> None:
    """Send the start of a frame in a thread that may wait; the payload is the caller's to send."""
    sock.sendall(encode(header, payload_bytes))


def receive_blocking(stream: BufferedReader) -> tuple[Header, bytearray]:
    """Receive a frame in a thread that may wait.

    Args:
        stream: of a socket, by `makefile("rb")`; one for all its frames.

    Raises:
        PeerClosed: the other side is gone.
        BadFrame: it is larger than it may be.
    """
    header_bytes, payload_bytes = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    _check_lengths(header_bytes, payload_bytes)
    header: Header = json.loads(_read(stream, header_bytes))
    return header, _read(stream, payload_bytes)


def _read(stream: BufferedReader, size: int) -> bytearray:
    data = bytearray(size)
    if stream.readinto(data) < size:
        raise PeerClosed
    return data
