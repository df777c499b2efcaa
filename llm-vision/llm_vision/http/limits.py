"""Limits on the head of a request and on how much of all bodies is held at the same time."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Scope

from ..errors import HeadersTooLarge, MalformedHttp, PayloadTooLarge, QueueFull, UnsupportedEncoding, UriTooLong

MAX_URL_BYTES = 8 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 64 * 1024


class BodyBudget:
    """Bytes that the bodies of all requests together may hold.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def take(self, size: int) -> None:
        """Hold more.

        Raises:
            QueueFull: too much is being uploaded.
        """
        if self._held + size > self._limit:
            raise QueueFull("too many uploads at once")
        self._held += size

    def give_back(self, size: int) -> None:
        """Hold less."""
        self._held -= size


def too_large(limit: int) -> PayloadTooLarge:
    """The error for a body or file above `limit` bytes."""
    return PayloadTooLarge(f"the limit is {limit} bytes")


def uri_too_long() -> UriTooLong:
    """The error for a URL above the limit."""
    return UriTooLong(f"the limit is {MAX_URL_BYTES} bytes")


def headers_too_large() -> HeadersTooLarge:
    """The error for headers above the limits."""
    return HeadersTooLarge(f"the limits are {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes")


def check_head(scope: Scope) -> None:
    """Check the size of the URL and the headers, and that the body has one length.

    Raises:
        UriTooLong, HeadersTooLarge, MalformedHttp: as their names say.
    """
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
        raise uri_too_long()
    if not scope["path"].startswith("/") and (scope["method"], scope["path"]) != ("OPTIONS", "*"):
        raise MalformedHttp("the request target is not a path")
    header_bytes = sum(len(name) + len(value) for name, value in scope["headers"])
    if len(scope["headers"]) > MAX_HEADERS or header_bytes > MAX_HEADER_BYTES:
        raise headers_too_large()
    if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
        raise MalformedHttp("send Content-Length or Transfer-Encoding, not both")  # servers in between may disagree


def check_announced_body(headers: Headers, max_body_bytes: int) -> None:
    """Check what the head says of the body, before a byte of it is read.

    Raises:
        UnsupportedEncoding, PayloadTooLarge: as their names say.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedEncoding("send the body without Content-Encoding")
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > max_body_bytes:
        raise too_large(max_body_bytes)
