"""Who may call what: hosts, origins and keys."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from ..errors import Forbidden, InvalidCredentials, InvalidHost, MissingCredentials

DOCS_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png", "docs.js", "bubble.png")
"""Under /docs/."""
_PROBES = ("/livez", "/health", "/readyz")
_DOCS = ("/docs", "/openapi.json", *(f"/docs/{name}" for name in DOCS_FILES))
OPEN_ROUTES = frozenset({
    *((method, path) for path in (*_PROBES, *_DOCS) for method in ("GET", "HEAD")),
    ("HEAD", "/ocr"),
})  # fmt: skip
"""Probes, and the page of the API, which is the same for everybody and has a button that asks for the key."""
ADMIN_ROUTES = frozenset({
    "/models/load", "/models/unload", "/models/download", "/models/delete", "/api/pull", "/api/delete",
})  # fmt: skip

FETCHES = ("GET", "/ocr")
"""Reads a picture from an address: work, like a POST."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class AccessRules:
    """What an operator allows.

    Args:
        api_keys: keys that may use the service; empty: no key is asked for.
        admin_keys: keys for `ADMIN_ROUTES`; empty: every valid key.
        hosts: Host names that are accepted besides loopback names; None: any.
        origins: web origins whose pages may call.
    """

    api_keys: Sequence[str] = ()
    admin_keys: Sequence[str] = ()
    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()


def check_host(headers: Headers, rules: AccessRules) -> None:
    """Refuse a malformed or foreign Host: a page that rebinds its name to this machine sends its own.

    Raises:
        InvalidHost: the header is missing, malformed or names another host.
    """
    match = _HOST.fullmatch(headers.get("host", ""))
    if match is None:
        raise InvalidHost("the Host header is missing or malformed")
    name = match["name"].lower().rstrip(".")
    if rules.hosts is not None and not is_loopback_name(name) and name not in rules.hosts:
        raise InvalidHost("this Host is not accepted; VISION_ALLOWED_HOSTS lists the names that are")


def is_loopback_name(name: str) -> bool:
    """Whether a Host can only mean this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def check_origin(method: str, path: str, headers: Headers, rules: AccessRules) -> None:
    """Refuse what a foreign web page sends: a browser posts anywhere, whatever CORS says.

    Raises:
        Forbidden: the request comes from a page of another origin.
    """
    if method in _SAFE_METHODS and (method, path) != FETCHES:
        return
    origin = headers.get("origin")
    if origin in rules.origins:
        return
    if origin is None:
        is_foreign = headers.get("sec-fetch-site") == "cross-site"
    else:
        is_foreign = _parse_authority(origin) != headers.get("host", "").lower()
    if is_foreign:
        raise Forbidden("web pages from this origin may not call the service; VISION_CORS_ORIGINS lists those that may")


def _parse_authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def check_key(method: str, path: str, headers: Headers, rules: AccessRules) -> None:
    """Ask for a key, where keys are set.

    Raises:
        MissingCredentials, InvalidCredentials: there is none, or none that is accepted.
        Forbidden: the key may not use this route.
    """
    if (
        not (rules.api_keys or rules.admin_keys)
        or (method, path) in OPEN_ROUTES
        or leads_to_docs(method, path, headers)
    ):
        return
    key = _read_key(headers)
    if key is None:
        raise MissingCredentials("send a key as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    is_admin = _matches_any(key, rules.admin_keys)
    if not is_admin and not _matches_any(key, rules.api_keys):
        raise InvalidCredentials("this key is not accepted")
    if path in ADMIN_ROUTES and rules.admin_keys and not is_admin:
        raise Forbidden("this route needs a key of VISION_ADMIN_KEYS")


def leads_to_docs(method: str, path: str, headers: Headers) -> bool:
    """Whether a browser asks for /: it is led to the page of the API."""
    return method in ("GET", "HEAD") and path == "/" and "text/html" in headers.get("accept", "")


def may_manage(headers: Headers, rules: AccessRules) -> bool:
    """Whether a request that was let in may say how long models stay in memory."""
    key = _read_key(headers)
    return not rules.admin_keys or (key is not None and _matches_any(key, rules.admin_keys))


def identify_client(scope: Scope, headers: Headers, rules: AccessRules) -> str:
    """Who sent the request, for fairness: the number of its key, else its address."""
    key = _read_key(headers)
    for number, accepted in enumerate((*rules.api_keys, *rules.admin_keys)):
        if key is not None and hmac.compare_digest(key.encode(), accepted.encode()):
            return f"key {number}"
    return str(scope["client"][0]) if scope.get("client") else "unknown"


def _read_key(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key") or None


def _matches_any(key: str, accepted: Sequence[str]) -> bool:
    """Compare with every key, in a time that does not reveal which one was close."""
    presented = key.encode()
    return any([hmac.compare_digest(presented, candidate.encode()) for candidate in accepted])
