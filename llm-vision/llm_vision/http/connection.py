"""uvicorn's HTTP connection with deadlines for reading and writing, and our error body for what is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..admission.connections import Connections
from ..errors import HttpVersionNotSupported, MalformedHttp, VisionError
from .gate import choose_request_id
from .leaving import Presence
from .limits import MAX_URL_BYTES, headers_too_large, uri_too_long
from .problem import problem_response

_LATER_THAN_THE_GATE = 1.0  # the gate answers a late body with 408 first; this ends what is left
_LINGER_SECONDS = 2.0
_TOO_LARGE = 431  # h11's hint for a head above its limit
_ANOTHER_VERSION = 505
_VERSIONS = (b"1.1", b"1.0")
_FREE_CHUNKS, _LEAST_CHUNK_BYTES = 1000, 100  # a chunk of one byte costs as much time as one of 64 KiB


@dataclass(frozen=True)
class ConnectionRules:
    """What connections may do.

    Args:
        header_seconds: for a head, from the connection or the last answer on.
        body_seconds: for a body, from its head on, and for fetching an answer.
        most: how many connections may be open.
        on_refused: called with the code of an error that is answered before there is a request.
        on_pushed_out: called when a connection is ended because there are too many.
    """

    header_seconds: float
    body_seconds: float
    most: int
    on_refused: Callable[[str], None]
    on_pushed_out: Callable[[], None]


class _Connection(h11.Connection):
    """h11's connection, which refuses other versions and bodies in a great many tiny chunks."""

    _chunks = _bytes = 0
    is_refused = False

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            if event.http_version not in _VERSIONS:
                self.is_refused = True
                raise h11.RemoteProtocolError("another version", error_status_hint=_ANOTHER_VERSION)
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > _FREE_CHUNKS and self._bytes < self._chunks * _LEAST_CHUNK_BYTES:
                raise h11.RemoteProtocolError("chunks are too small")
        return event


class DeadlineProtocol(H11Protocol):
    """A connection that no client can keep for ever by being slow.

    Behind an answer that comes before the end of the body, what is still sent is thrown away for a
    moment: an end at once would reset the connection, and the client would never see why. When there
    are too many connections, one is ended whose client has to send or to fetch something.
    """

    rules: ClassVar[ConnectionRules]
    crowd: ClassVar[Connections[DeadlineProtocol]]
    conn: _Connection

    @classmethod
    def configured(cls, rules: ConnectionRules) -> type[DeadlineProtocol]:
        """The class that uvicorn makes connections of."""
        return type(cls.__name__, (cls,), {"rules": rules, "crowd": Connections(rules.most)})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(h11.SERVER, cast(int, self.config.h11_max_incomplete_event_size))
        self._read_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._awaited: Any = None
        self._lingering: asyncio.TimerHandle | None = None
        self._presence: Presence | None = None
        self._is_half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._socket = transport
        self.transport = cast(asyncio.Transport, _Transport(self, transport))
        self.crowd.enter(self, self.client[0] if self.client else "unknown")
        self._await(h11.IDLE)
        if victim := self.crowd.choose_victim(self):
            self.crowd.leave(victim)
            self.rules.on_pushed_out()
            victim._socket.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._await(None)
        self.crowd.leave(self)
        for timer in (self._write_deadline, self._lingering):
            if timer:
                timer.cancel()
        if self._presence:
            self._presence.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        self._await(self.conn.their_state)
        super().data_received(data)
        self._await(self.conn.their_state)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that has sent whole requests and nothing more, until they are answered."""
        if self._lingering or not self._is_answering or self.conn.their_state not in (h11.DONE, h11.MUST_CLOSE):
            return False
        if not self._is_half_closed:
            self._is_half_closed = True
            self._end_behind_last()
            self._presence = Presence(self._socket, self._ask_for_presence)
        return True

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _ask_for_presence(self) -> None:
        if self.conn.our_state is h11.SEND_RESPONSE and self.scope["http_version"] == "1.1":
            go_on = h11.InformationalResponse(status_code=100, reason=b"Continue", headers=[])
            self.transport.write(self.conn.send(go_on) or b"")

    def _end_behind_last(self) -> None:
        """Close a connection through which nothing more comes, behind the answer to the last request that has come."""
        if not self._is_answering:
            self.transport.close()
        elif not self.conn.trailing_data[0]:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_half_closed:
            self._end_behind_last()
        if self.conn.their_state is h11.IDLE and not self._socket.is_closing():
            self._await(None)  # idle between requests: uvicorn's keep-alive time counts

    def pause_writing(self) -> None:
        super().pause_writing()
        self.crowd.mark_idle(self)
        self._write_deadline = self._close_after(self.rules.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_deadline:
            self._write_deadline.cancel()
        self._mark()

    def _mark(self) -> None:
        """Note who has to do something next: the client, or the service."""
        if self._awaited is None and self._is_answering and not self.is_ending:
            self.crowd.mark_busy(self)
        else:
            self.crowd.mark_idle(self)

    @property
    def is_ending(self) -> bool:
        """Whether no more is read."""
        return self._lingering is not None or self._socket.is_closing()

    def end(self) -> None:
        """Close the connection; when the client may still be sending, in a way that lets it read the answer."""
        if self.is_ending:
            return
        if self.conn.their_state not in (h11.SEND_BODY, h11.ERROR) and not self.conn.is_refused:
            if self._socket.get_write_buffer_size():  # closing waits for the client to fetch the rest
                self._write_deadline = self._close_after(self.rules.body_seconds, self._socket.abort)
            self._socket.close()
        else:
            self._await(None)
            self._lingering = self._close_after(_LINGER_SECONDS, self._socket.abort)
            self.flow.resume_reading()
            with contextlib.suppress(OSError):  # it has been reset
                self._socket.write_eof()
        self._mark()

    def send_400_response(self, msg: str) -> None:
        """Answer what h11 could not read; called while its exception is handled."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # broken behind an answer that has begun
            self.transport.close()
            return
        error = self._explain(sys.exception())
        request_id = choose_request_id(None)
        self.rules.on_refused(error.code)
        self.logger.warning("refused before it was a request [%s]", request_id, extra={"code": error.code})
        response = problem_response(error, request_id, "", close=True)
        response.headers["x-request-id"] = request_id
        head = h11.Response(status_code=error.status, headers=response.raw_headers)
        for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _explain(self, problem: BaseException | None) -> VisionError:
        hint = getattr(problem, "error_status_hint", None)
        if hint == _ANOTHER_VERSION:
            return HttpVersionNotSupported("HTTP/1.1 and HTTP/1.0 are spoken here")
        if hint != _TOO_LARGE:
            return MalformedHttp("this is not an HTTP request")
        head = self.conn.trailing_data[0]
        return headers_too_large() if b"\r\n" in head[:MAX_URL_BYTES] else uri_too_long()

    def _await(self, what: Any) -> None:
        """Start the deadline for what the client has to send next, unless it runs already."""
        if what is self._awaited:
            return
        self._awaited = what
        if self._read_deadline:
            self._read_deadline.cancel()
        seconds = {
            h11.IDLE: self.rules.header_seconds,
            h11.SEND_BODY: self.rules.body_seconds + _LATER_THAN_THE_GATE,
        }.get(what)
        self._read_deadline = None
        if seconds is None:
            self._awaited = None
        self.crowd.mark_busy(self)  # so that it is idle from now on
        self._mark()
        if seconds is not None:
            self._read_deadline = self._close_after(seconds, self.transport.abort)

    def _close_after(self, seconds: float, close: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, close)


class _Transport:
    """A connection's transport as uvicorn sees it: closing is the protocol's affair."""

    def __init__(self, protocol: DeadlineProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._protocol.end()

    def is_closing(self) -> bool:
        return self._protocol.is_ending
