"""Watches what other servers send around their answers: heads, chunks and trailers cost no more than an answer may.

The libraries bound none of it as a whole: a server that says `100 Continue` for ever, sends a byte a chunk or thousands
of headers keeps a process busy without one byte of an answer. So their network streams are watched, line by line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx2

    Client = TypeVar("Client", httpx2.Client, httpx2.AsyncClient)

MOST_LINES = 256
"""Of all heads of an answer, `100 Continue` among them, and of its trailers."""
MOST_BYTES = 64 * 1024
"""Of these lines and those in front of chunks, beside half as much as the body has."""
_FREE_CHUNKS = 1000
_FINAL = 200  # status of an answer behind which no other one comes


def watch(client: Client, *, least_chunk_bytes: int = 100, head_seconds: float | None = None) -> Client:
    """Have a client break off answers that are mostly something else, as `RemoteProtocolError`.

    Args:
        client: of httpx2, new.
        least_chunk_bytes: of chunks on average, beyond the first thousand.
        head_seconds: until the answer begins; None: as the client has it.
    """

    def new_framing() -> _Framing:
        return _Framing(least_chunk_bytes, head_seconds)

    backend_class = _AsyncBackend if hasattr(client, "aclose") else _Backend
    transports: list[Any] = [client._transport, *filter(None, client._mounts.values())]
    for pool in (transport._pool for transport in transports):  # there is no public way to its network
        pool._network_backend = backend_class(pool._network_backend, new_framing)
    return client


class _Framing:
    """Where in an answer a connection is."""

    def __init__(self, least_chunk_bytes: int, head_seconds: float | None) -> None:
        self._least_chunk_bytes = least_chunk_bytes
        self._head_seconds = head_seconds
        self.expect_answer()

    def expect_answer(self) -> None:
        """A request is sent."""
        self._began = time.monotonic()
        self._take: Callable[[bytes], None] | None = self._take_head_line
        self._status = 0
        self._line = b""
        self._is_chunked = False
        self._skipped = self._lines = self._line_bytes = self._chunks = self._body_bytes = 0

    def limit_wait(self, seconds: float | None) -> float | None:
        """How long to wait for more.

        Raises:
            ReadTimeout: the answer has not begun in time.
        """
        if self._head_seconds is None or self._take != self._take_head_line:
            return seconds
        left = self._began + self._head_seconds - time.monotonic()
        if left <= 0:
            import httpcore2  # noqa: PLC0415  (only who asks other servers pays for it)

            raise httpcore2.ReadTimeout("the answer does not begin")
        return left if seconds is None else min(seconds, left)

    def see(self, data: bytes) -> None:
        """Follow what has come.

        Raises:
            RemoteProtocolError: too much of it is no answer.
        """
        at = 0
        while self._take and at < len(data):
            if self._skipped:
                step = min(self._skipped, len(data) - at)
                self._skipped -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            self._line_bytes += end - at
            at = end
            if self._line_bytes > MOST_BYTES + self._body_bytes // 2:
                raise _broken("long lines around the answer")
            if self._line.endswith(b"\n"):
                line, self._line = self._line.strip(), b""
                self._take(line)

    def _take_head_line(self, line: bytes) -> None:
        self._count_line()
        if not self._status:
            self._status = _number(line.split(b" ")[1:2], 10)
        elif not line and self._status < _FINAL:
            self._status = 0  # another head comes
        elif not line:
            self._take = self._take_size if self._is_chunked else None
        elif line.lower().startswith(b"transfer-encoding:"):
            self._is_chunked = True

    def _take_size(self, line: bytes) -> None:
        size = _number([line.partition(b";")[0]], 16)
        if not size:
            self._take = self._take_trailer
            return
        self._skipped = size + len(b"\r\n")
        self._body_bytes += size
        self._chunks += 1
        if self._chunks > _FREE_CHUNKS and self._body_bytes < self._chunks * self._least_chunk_bytes:
            raise _broken("a great many tiny chunks")

    def _take_trailer(self, line: bytes) -> None:
        self._count_line()

    def _count_line(self) -> None:
        self._lines += 1
        if self._lines > MOST_LINES:
            raise _broken("a great many lines around the answer")


def _number(words: list[bytes], base: int) -> int:
    """The first word as a number; 0 where there is none, which the library will say."""
    try:
        return int(words[0], base)
    except (ValueError, IndexError):
        return 0


def _broken(reason: str) -> Exception:
    import httpcore2  # noqa: PLC0415

    return httpcore2.RemoteProtocolError(reason)


class _Backend:
    """A network of httpcore2 whose streams are watched; whatever else it can do it still does."""

    def __init__(self, backend: Any, new_framing: Callable[[], _Framing]) -> None:
        self._backend = backend
        self._new_framing = new_framing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _Stream(self._backend.connect_tcp(*args, **options), self._new_framing())


class _AsyncBackend(_Backend):
    """The same for an event loop."""

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _AsyncStream(await self._backend.connect_tcp(*args, **options), self._new_framing())


class _Stream:
    """A connection, encrypted or not."""

    def __init__(self, stream: Any, framing: _Framing) -> None:
        self._stream = stream
        self._framing = framing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        data = self._stream.read(max_bytes, self._framing.limit_wait(timeout))
        self._framing.see(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> Any:
        self._framing.expect_answer()
        return self._stream.write(buffer, timeout)

    def start_tls(self, *args: Any, **options: Any) -> Any:
        return type(self)(self._stream.start_tls(*args, **options), self._framing)


class _AsyncStream(_Stream):
    """The same for an event loop."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        data = await self._stream.read(max_bytes, self._framing.limit_wait(timeout))
        self._framing.see(data)
        return data

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        return type(self)(await self._stream.start_tls(*args, **options), self._framing)
