"""A picture that came through a WebSocket, as the request that the gate takes it for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

from starlette.types import Message, Scope

from .owocr_result import make_result

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request

_ROUTE = SimpleNamespace(path="websocket")
"""As counters and the log have it."""
_ID = "x-request-id"  # one for each picture, not for the connection
_OK = 200


def make_scope(request: Request, connection: ServerConnection) -> Scope:
    """What the head of a WebSocket says of each picture that comes through it."""
    head = [(name.lower(), value) for name, value in request.headers.raw_items()]
    return {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head if name != _ID],
        "client": connection.remote_address,
        "route": _ROUTE,
    }


class SocketRequest:
    """The picture on its way in, and the answer on its way back.

    Args:
        picture: the body.
        connection: what it came through.
    """

    def __init__(self, picture: bytes, connection: ServerConnection) -> None:
        assert connection.request is not None  # noqa: S101  (it has come through the handshake)
        self._picture: bytes | None = picture
        self._connection = connection
        self._status = 0
        self._body = bytearray()
        self.scope = make_scope(connection.request, connection)

    async def receive(self) -> Message:
        """The whole body, then the end of the connection."""
        if self._picture is not None:
            picture, self._picture = self._picture, None
            return {"type": "http.request", "body": picture}
        await self._connection.wait_closed()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        self._body += message.get("body", b"")

    @property
    def answer(self) -> str | None:
        """The answer in owocr's shape; None where the client has left before there was one."""
        if not self._status:
            return None
        if self._status == _OK:
            return self._body.decode()
        problem = json.loads(self._body)
        error = {"code": problem["code"], "message": problem["detail"], "request_id": problem["request_id"]}
        return json.dumps({**make_result(0, 0, []), "error": error}, ensure_ascii=False)
