"""Promise 17: every route but the probes and the API's page asks for a key, whatever trick the request uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.live import LiveServer, Start
from fixtures.raw_http import request, send_raw

OPENAPI = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
OPEN = {("get", "/livez"), ("get", "/health"), ("get", "/readyz"), ("head", "/ocr")}
PAGE = {("get", "/docs"), ("get", "/docs/docs.js"), ("get", "/docs/swagger-ui.css"), ("get", "/openapi.json")}
ROUTES = [
    (method, path) for path, methods in OPENAPI["paths"].items() for method in methods if (method, path) not in OPEN
] + [("get", "/docs/nothing"), ("get", "/nothing")]


@pytest.fixture(scope="module")
def locked(start_module_server: Start) -> LiveServer:
    return start_module_server({"VISION_API_KEYS": "sesame"})


def tricks(path: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Twelve ways to ask for the same route: (target, headers)."""
    first = path.strip("/")[:1]
    return {
        "plain": (path, {}),
        "double_slash": ("/" + path, {}),
        "trailing_slash": (path + "/", {}),
        "through_a_probe": ("/livez/.." + path, {}),
        "encoded_letter": (path.replace(first, f"%{ord(first):02x}", 1) if first else path + "%2e", {}),
        "encoded_slash": ("/livez%2f.." + path, {}),
        "parameters": (path + ";/livez", {}),
        "key_in_query": (path + "?api_key=sesame&key=sesame", {}),
        "absolute_target": ("http://127.0.0.1" + path, {}),
        "probe_in_headers": (path, {"X-Original-URL": "/livez", "X-Rewrite-URL": "/livez", "X-Forwarded-Prefix": "/"}),
        "local_in_headers": (
            path,
            {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
        ),
        "other_method": (path, {"X-HTTP-Method-Override": "HEAD", "X-Method-Override": "HEAD"}),
    }


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_promise_17_every_way_to_a_route_asks_for_a_key(locked: LiveServer, method: str, path: str) -> None:
    for name, (target, headers) in tricks(path).items():
        answer = send_raw(locked.port, request(target, method=method.upper(), headers=headers), method=method.upper())
        assert answer.status in (400, 401), (name, answer.status, answer.body[:200])
        if method != "head":
            is_ollamas = path.startswith("/api/") and json.loads(answer.body).keys() == {"error"}
            assert is_ollamas or answer.code in ("missing_credentials", "malformed_http"), name


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND", "get"])
def test_promise_17_no_method_goes_around(locked: LiveServer, method: str) -> None:
    answer = send_raw(locked.port, request("/models", method=method), method=method)
    assert (answer.status, answer.code) == (401, "missing_credentials")


@pytest.mark.parametrize(("method", "path"), [*sorted(OPEN | PAGE), ("head", "/livez"), ("head", "/readyz")])
def test_promise_17_probes_are_open(locked: LiveServer, method: str, path: str) -> None:
    assert send_raw(locked.port, request(path, method=method.upper()), method=method.upper()).status == 200


def test_promise_17_keys_are_compared_in_constant_time() -> None:
    import inspect

    from llm_vision.http import access

    assert "compare_digest" in inspect.getsource(access._matches_any)
    assert "any([" in inspect.getsource(access._matches_any), "a generator would stop at the first match"
