"""One request and its answer as they pass the gate: the body counted and timed, the status noted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from ..admission.deadlines import Deadlines
from ..errors import ClientClosed, RequestTimeout
from .limits import BodyBudget, too_large

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class BodyRules:
    """What a body may be.

    Args:
        max_bytes: its size.
        larger: its size on routes that take more, by their path.
        seconds: time from the head of the request to the end of the body.
        budget: what all bodies share.
        deadlines: where the time counts.
    """

    max_bytes: int
    larger: Mapping[str, int]
    seconds: float
    budget: BodyBudget
    deadlines: Deadlines

    def limit_for(self, path: str) -> int:
        """Largest body on a route, in bytes."""
        return self.larger.get(path, self.max_bytes)


class HttpExchange:
    """A request on its way through the service."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str, rules: BodyRules) -> None:
        self._receive = receive
        self._send = send
        self._rules = rules
        self._limit = rules.limit_for(scope["path"])
        self._body_bytes = 0
        self._body_ends_at = asyncio.get_running_loop().time() + rules.seconds
        self._disconnect: asyncio.Task[Message] | None = None
        self._first: Message | None = None
        self.scope = scope
        self.request_id = request_id
        self.body_ended = asyncio.Event()
        self.status: int | None = None
        self.code: str | None = None
        self.is_answered = False

    async def begin(self) -> None:
        """Take the end of a body that is none: routes that never ask for it could not learn that their client left.

        Raises:
            ClientClosed: the client left already.
        """
        if not self._announces_body:
            self._first = await self.receive()

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            PayloadTooLarge, QueueFull: more has come than this request, or all together, may hold.
            RequestTimeout, ShuttingDown: it comes too slowly.
            ClientClosed: the client left before its end.
        """
        if self._first:
            first, self._first = self._first, None
            return first
        if self.body_ended.is_set():
            return await asyncio.shield(self.wait_for_disconnect())
        left = self._body_ends_at - asyncio.get_running_loop().time()
        async with self._rules.deadlines.within(left, self._body_timed_out):
            message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientClosed("the client disconnected before the end of its request")
        self._count(len(message.get("body", b"")))
        if not message.get("more_body", False):
            self.body_ended.set()
        return message

    def _body_timed_out(self) -> RequestTimeout:
        return RequestTimeout(f"the body took longer than {self._rules.seconds:g} s")

    def _count(self, size: int) -> None:
        if self._body_bytes + size > self._limit:
            raise too_large(self._limit)
        self._rules.budget.take(size)
        self._body_bytes += size

    def wait_for_disconnect(self) -> asyncio.Task[Message]:
        """A task that ends when the client has left; only after the whole body was read."""
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
        """Let go of the body, and stop waiting for the client to leave."""
        self._rules.budget.give_back(self._body_bytes)
        if self._disconnect:
            self._disconnect.cancel()
            await asyncio.gather(self._disconnect, return_exceptions=True)

    @property
    def has_unread_body(self) -> bool:
        """Whether more of the body may come, in front of the connection's next request."""
        return self._announces_body and not self.body_ended.is_set()

    @property
    def _announces_body(self) -> bool:
        headers = Headers(scope=self.scope)
        return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    @property
    def method(self) -> str:
        """The method as a label with few values."""
        method: str = self.scope["method"]
        return method if method in _METHODS else "other"

    @property
    def route(self) -> str | None:
        """The template of the route that answered, where one has been asked."""
        return getattr(self.scope.get("route"), "path", None)
