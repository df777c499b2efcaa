"""The one gate before all routes: request id, shutdown, host, origin, key, body and rate limits; counts, logs.

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

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import logs
from ..admission.rate_limit import RateLimit
from ..errors import ClientClosed, InternalError, ShuttingDown, VisionError
from ..metrics import Metrics
from .access import FETCHES, AccessRules, check_host, check_key, check_origin, identify_client, may_manage
from .exchange import BodyRules, HttpExchange
from .limits import check_announced_body, check_head
from .problem import problem_response
from .routes import Routes, without_last_slash

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_OPEN_WHILE_DRAINING = frozenset({"/livez", "/health", "/readyz"})
_ANSWERED = "%(method)s %(route)s %(status)d"
_LIMITED_METHODS = frozenset({"POST", "DELETE"})  # probes, lists and metrics are free


@dataclass(frozen=True)
class GateRules:
    """What the gate checks against."""

    access: AccessRules
    body: BodyRules
    rate: RateLimit
    routes: Routes
    is_draining: Callable[[], bool]


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
        scope["path"] = without_last_slash(scope["path"])
        headers = Headers(scope=scope)
        request_id = choose_request_id(headers.get("x-request-id"))
        token, about = logs.request_id.set(request_id), logs.answer_fields.set({})
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = HttpExchange(scope, receive, send, request_id, self._rules.body)
        started = time.perf_counter()
        try:
            await self._answer(exchange, headers)
        finally:
            await exchange.close()
            self._record(exchange, time.perf_counter() - started)
            logs.answer_fields.reset(about)
            logs.request_id.reset(token)

    async def _answer(self, exchange: HttpExchange, headers: Headers) -> None:
        try:
            self._check(exchange.scope, headers)
            await exchange.begin()
            await self._run_until_client_leaves(exchange)
        except VisionError as error:
            await self._refuse(exchange, error)
        except Exception:
            log.exception("unexpected error")
            await self._refuse(exchange, InternalError.unexpected())

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Everything that can be known before the body is read, cheapest first."""
        method, path = scope["method"], scope["path"]
        if self._rules.is_draining() and path not in _OPEN_WHILE_DRAINING:
            raise ShuttingDown("the service is shutting down")
        check_head(scope)
        check_host(headers, self._rules.access)
        check_origin(method, path, headers, self._rules.access)
        check_key(method, path, headers, self._rules.access)
        check_announced_body(headers, self._rules.body.limit_for(path))
        scope["state"]["client"] = identify_client(scope, headers, self._rules.access)
        scope["state"]["may_manage"] = may_manage(headers, self._rules.access)
        if method in _LIMITED_METHODS or (method, path) == FETCHES:
            self._rules.rate.take(scope["state"]["client"])

    async def _run_until_client_leaves(self, exchange: HttpExchange) -> None:
        """Run the routes; when the client hangs up, cancel them."""
        scope = self._rules.routes.answering_head(exchange.scope)
        routes = asyncio.ensure_future(self._app(scope, exchange.receive, exchange.send))
        body = asyncio.create_task(exchange.body_ended.wait())
        try:
            await asyncio.wait({routes, body}, return_when=asyncio.FIRST_COMPLETED)
            if not routes.done():
                await asyncio.wait({routes, exchange.wait_for_disconnect()}, return_when=asyncio.FIRST_COMPLETED)
            if not routes.done() and not exchange.is_answered:
                raise ClientClosed("the client disconnected before the end of the answer")
            await routes
        finally:
            body.cancel()
            routes.cancel()
            await asyncio.gather(routes, body, return_exceptions=True)

    async def _refuse(self, exchange: HttpExchange, error: VisionError) -> None:
        self._metrics.count_error(error.code)
        exchange.code = error.code
        if isinstance(error, ClientClosed):
            exchange.status = error.status
            return
        if exchange.status is not None:  # the answer has begun: it can only be cut off
            return
        close = exchange.has_unread_body or isinstance(error, ShuttingDown)
        response = problem_response(error, exchange.request_id, exchange.scope["path"], close=close)
        await response(exchange.scope, exchange.receive, exchange.send)

    def _record(self, exchange: HttpExchange, seconds: float) -> None:
        status = exchange.status or ClientClosed.status
        method, route = exchange.method, exchange.route or self._rules.routes.name(exchange.scope)
        self._metrics.count_answer(method, route, status, seconds)
        about = {**logs.answer_fields.get(), "seconds": round(seconds, 4)}
        answer = {"method": method, "route": route, "status": status, "model": None}
        log.info(_ANSWERED, answer, extra={**about, **({"code": exchange.code} if exchange.code else {})})


def choose_request_id(candidate: str | None) -> str:
    """The client's id when it is harmless in logs and headers, else a new one."""
    return candidate if candidate and _REQUEST_ID.fullmatch(candidate) else uuid.uuid4().hex
