"""owocr's WebSocket, which meikipop and yomihon speak: a picture in, `True` at once, then what it says as JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ...errors import InvalidHost, ShuttingDown, VisionError
from ...http.access import check_host, check_key, check_origin, identify_client
from ...http.gate import Gate, GateRules
from ...http.limits import check_head
from ...services.reading.crops import OcrRequest
from ..ocr.reading import EMBEDDED, read_page
from ..shared.dependencies import Services
from .owocr_request import SocketRequest, make_scope
from .owocr_result import as_owocr

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

    from .owocr_connection import PictureConnection

log = logging.getLogger(__name__)

ACKNOWLEDGED = "True"
MOST_CONNECTIONS, MOST_OF_ONE = 32, 8
"""In all, and of one client."""
MOST_WAITING = 16
"""Connections that were not let in yet, or not let in."""
_GOING_AWAY = 1001
_GOODBYE_SECONDS = 2.0
_WANTED = OcrRequest(EMBEDDED, "ja")


@dataclass(frozen=True)
class SocketRules:
    """Where it listens, and what every picture must pass."""

    host: str
    port: int
    gate: GateRules
    max_bytes: int
    """Of a picture file."""


class OwocrSocket:
    """One connection after the other sends pictures; each passes the gate, and is answered before the next one is.

    Args:
        services: who reads.
        rules: see there.
    """

    def __init__(self, services: Services, rules: SocketRules) -> None:
        self._services = services
        self._rules = rules
        self._gate = Gate(self._read, rules.gate, services.metrics)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen for as long as the context lasts; what is being read then is still answered.

        Raises:
            OSError: the port is taken.
        """
        from websockets.asyncio.server import serve  # noqa: PLC0415  (only who wants it pays for it)

        from .owocr_connection import CrowdRules, PictureConnection  # noqa: PLC0415

        rules, metrics = self._rules, self._services.metrics
        crowd = CrowdRules(
            body=rules.gate.body,
            max_bytes=rules.max_bytes,
            most=MOST_CONNECTIONS,
            most_of_one=MOST_OF_ONE,
            most_waiting=MOST_WAITING,
            on_refused=self._note,
            on_pushed_out=metrics.count_pushed_out,
        )
        connection_class = PictureConnection.configured(crowd)
        server = await serve(
            self._talk,  # type: ignore[arg-type]  # its connections are of the class below
            rules.host,
            rules.port,
            process_request=self._check,
            compression=None,  # pictures are compressed already, and a bomb of zeros would not count
            close_timeout=_GOODBYE_SECONDS,
            max_size=rules.max_bytes,
            max_queue=0,  # nothing is read while a whole message waits
            create_connection=connection_class,
            backlog=MOST_WAITING,  # as many are accepted at once
        )
        log.info("owocr's WebSocket listens on port %d", rules.port)
        try:
            yield
        finally:
            self._services.lifecycle.drain()
            for waiting in connection_class.waiting:
                waiting.transport.abort()
            await self._stop(server, connection_class.inside)

    @staticmethod
    async def _stop(server: Server, inside: Iterable[PictureConnection]) -> None:
        """Take nothing more, and say goodbye to all: to those that wait for an answer, behind it."""
        server.close(close_connections=False)
        idle = [connection for connection in inside if not connection.is_answering]
        await asyncio.gather(*(connection.close(_GOING_AWAY) for connection in idle))
        await server.wait_closed()

    def _note(self, error: VisionError) -> None:
        self._services.metrics.count_error(error.code)
        log.warning("a WebSocket was refused", extra={"code": error.code})

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        """What the gate will ask of every picture, asked of the connection before."""
        scope, rules = make_scope(request, connection), self._rules.gate
        headers = Headers(scope=scope)
        try:
            if rules.is_draining():
                raise ShuttingDown("the service is shutting down")
            check_head(scope)
            if len(headers.getlist("host")) > 1:
                raise InvalidHost("send one Host header")
            check_host(headers, rules.access)
            check_origin("POST", "/", headers, rules.access)
            check_key("POST", "/", headers, rules.access)
        except VisionError as error:
            self._note(error)
            return connection.respond(HTTPStatus(error.status), f"{error.detail}\n")
        return None

    async def _talk(self, connection: PictureConnection) -> None:
        assert connection.request is not None  # noqa: S101  (it has come through the handshake)
        scope = make_scope(connection.request, connection)
        connection.let_in(identify_client(scope, Headers(scope=scope), self._rules.gate.access))
        while (picture := await connection.next_picture()) is not None:
            await self._answer(picture, connection)
            if self._rules.gate.is_draining():
                await connection.close(_GOING_AWAY)

    async def _answer(self, picture: bytes, connection: PictureConnection) -> None:
        await connection.send_text(ACKNOWLEDGED)
        request = SocketRequest(picture, connection)
        await self._gate(request.scope, request.receive, request.send)
        if request.answer is not None:
            await connection.send_text(request.answer)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The route behind the gate."""
        picture = (await receive())["body"]
        page = await read_page(picture, self._services, scope["state"]["client"], _WANTED)
        await JSONResponse(as_owocr(page))(scope, receive, send)
