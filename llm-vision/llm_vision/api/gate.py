"""The one gate before all routes: request id, shutdown, host, origin, key, body limits; counts and logs.

The order is drawn in docs/architecture.md. Every refusal is a `VisionError` that is answered here.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import logs
from ..errors import (
    ClientClosed,
    HeadersTooLarge,
    InternalError,
    PayloadTooLarge,
    ShuttingDown,
    UnsupportedEncoding,
    UriTooLong,
    VisionError,
)
from ..metrics import Metrics
from .access import AccessRules, check_host, check_key, check_origin
from .problem import problem_response

log = logging.getLogger(__name__)

MAX_URL_BYTES = 8 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 * 1024
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_OPEN_WHILE_DRAINING = frozenset({"/livez", "/health", "/readyz"})


@dataclass(frozen=True)
class GateRules:
    """What the gate checks against."""

    access: AccessRules
    max_body_bytes: int
    is_draining: Callable[[], bool]


class Exchange:
    """One request and its answer as they pass the gate: counts the body, notes the status."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, max_body_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self._disconnect: asyncio.Task[Message] | None = None
        self.scope = scope
        self.request_id = request_id
        self.body_ended = asyncio.Event()
        self.status: int | None = None
        self.is_answered = False

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            PayloadTooLarge: more has come than may.
        """
        if self.body_ended.is_set():
            return await asyncio.shield(self.disconnected())
        message = await self._receive()
        if message["type"] == "http.request":
            self._body_bytes += len(message.get("body", b""))
            if self._body_bytes > self._max_body_bytes:
                raise too_large(self._max_body_bytes)
        if not message.get("more_body", False):
            self.body_ended.set()
        return message

    def disconnected(self) -> asyncio.Task[Message]:
        """Ends when the client has left; only after the whole body was read."""
        if self._disconnect is None:
            self._disconnect = asyncio.ensure_future(self._receive())
        return self._disconnect

    async def send(self, message: Message) -> None:
        """A part of the answer, with the request's id."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self.request_id
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_answered = True

    async def close(self) -> None:
        """Stop waiting for the client to leave."""
        if self._disconnect:
            self._disconnect.cancel()
            await asyncio.gather(self._disconnect, return_exceptions=True)

    @property
    def route(self) -> str:
        """The template of the route that answered, as a label with few values."""
        return getattr(self.scope.get("route"), "path", "unmatched")


def too_large(limit: int) -> PayloadTooLarge:
    """The error for a body or file above `limit` bytes."""
    return PayloadTooLarge(f"the limit is {limit} bytes")


class Gate:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, rules: GateRules, metrics: Metrics) -> None:
        self._app = app
        self._rules = rules
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = accepted_request_id(headers.get("x-request-id"))
        token = logs.request_id.set(request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = Exchange(scope, receive, send, request_id, self._rules.max_body_bytes)
        started = time.perf_counter()
        try:
            await self._answer(exchange, headers)
        finally:
            await exchange.close()
            self._record(exchange, time.perf_counter() - started)
            logs.request_id.reset(token)

    async def _answer(self, exchange: Exchange, headers: Headers) -> None:
        try:
            self._check(exchange.scope, headers)
            await self._run_until_client_leaves(exchange)
        except VisionError as error:
            await self._refuse(exchange, error)
        except Exception:
            log.exception("unexpected error")
            await self._refuse(exchange, InternalError("something went wrong on our side; the log has it"))

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Everything that can be known before the body is read, cheapest first."""
        method, path = scope["method"], scope["path"]
        if self._rules.is_draining() and path not in _OPEN_WHILE_DRAINING:
            raise ShuttingDown("the service is shutting down")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
            raise UriTooLong(f"the limit is {MAX_URL_BYTES} bytes")
        header_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
        if len(scope["headers"]) > MAX_HEADERS or header_bytes > MAX_HEADER_BYTES:
            raise HeadersTooLarge(f"the limits are {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes")
        check_host(headers, self._rules.access)
        check_origin(method, headers, self._rules.access)
        check_key(method, path, headers, self._rules.access)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedEncoding("send the body without Content-Encoding")
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._rules.max_body_bytes:
            raise too_large(self._rules.max_body_bytes)

    async def _run_until_client_leaves(self, exchange: Exchange) -> None:
        """Run the routes; when the client hangs up, cancel them."""
        routes = asyncio.ensure_future(self._app(exchange.scope, exchange.receive, exchange.send))
        body = asyncio.create_task(exchange.body_ended.wait())
        try:
            await asyncio.wait({routes, body}, return_when=asyncio.FIRST_COMPLETED)
            if not routes.done():
                await asyncio.wait({routes, exchange.disconnected()}, return_when=asyncio.FIRST_COMPLETED)
            if not routes.done() and not exchange.is_answered:
                raise ClientClosed("the client left before the end of the answer")
            await routes
        finally:
            body.cancel()
            routes.cancel()
            await asyncio.gather(routes, body, return_exceptions=True)

    async def _refuse(self, exchange: Exchange, error: VisionError) -> None:
        self._metrics.error_answered(error.code)
        if exchange.status is not None:  # the answer has begun: it can only be cut off
            log.warning("an answer was cut off", extra={"code": error.code})
            return
        if isinstance(error, ClientClosed):
            exchange.status = error.status
            return
        unread = not exchange.body_ended.is_set()
        response = problem_response(error, exchange.request_id, close=unread or isinstance(error, ShuttingDown))
        await response(exchange.scope, exchange.receive, exchange.send)

    def _record(self, exchange: Exchange, seconds: float) -> None:
        status = exchange.status or ClientClosed.status
        method = exchange.scope["method"]
        self._metrics.request_answered(method, exchange.route, status, seconds)
        log.info("%s %s %d", method, exchange.route, status, extra={"milliseconds": round(seconds * 1000, 1)})


def accepted_request_id(candidate: str | None) -> str:
    """The client's id when it is harmless in logs and headers, else a new one."""
    return candidate if candidate and _REQUEST_ID.fullmatch(candidate) else uuid.uuid4().hex
