"""What holds on every route: a slash at the end changes nothing, HEAD is GET without a body, and the log names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures.live import LiveServer, Start
from fixtures.raw_http import request, send_raw
from fixtures.waiting import eventually

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
ROUTES = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
GETS = sorted({path for method, path in ROUTES if method == "GET" and "{" not in path} | {"/openapi.json", "/docs"})
FETCHES = "/ocr"
"""Whose HEAD has an answer of its own: GET reads a picture."""


def status_of(server: LiveServer, method: str, path: str) -> tuple[int, str | None]:
    answer = send_raw(server.port, request(path.replace("{", "").replace("}", ""), method=method), method=method)
    return answer.status, answer.code


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_slash_at_the_end_of_a_path_changes_nothing(server: LiveServer, method: str, path: str) -> None:
    if path != "/":
        assert status_of(server, method, f"{path}/") == status_of(server, method, path)


def test_a_picture_is_read_behind_a_slash(server: LiveServer) -> None:
    answer = server.client.post("/ocr/", files={"file": b"no picture"}, follow_redirects=False)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_image_format")
    assert server.client.post("/ocr//", files={"file": b"no picture"}).status_code == 404


@pytest.mark.parametrize("path", GETS)
def test_head_is_answered_wherever_get_is(server: LiveServer, path: str) -> None:
    head = server.client.head(path)
    assert head.content == b""
    if path != FETCHES:
        get = server.client.get(path)
        assert head.status_code == get.status_code
        assert head.headers.get("content-type") == get.headers.get("content-type")
    else:
        assert head.status_code == 200


def test_head_is_refused_where_get_is(server: LiveServer) -> None:
    assert server.client.head("/models/load").status_code == 405
    assert server.client.head("/nothing").status_code == 404


@pytest.fixture(scope="module")
def keyed(start_module_server: Start) -> LiveServer:
    server = start_module_server(
        {"VISION_LOG_FORMAT": "json", "VISION_API_KEYS": "sesame", "VISION_ADMIN_KEYS": "open"}
    )
    server.client.headers["X-API-Key"] = "sesame"
    return server


def line_of(server: LiveServer, request_id: str) -> dict[str, Any]:
    """The line about the answer to a request."""
    lines = eventually(lambda: [line for line in server.log.splitlines() if request_id in line and '"route"' in line])
    return dict(json.loads(lines[0]))


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("POST", "/models/load", "/models/load", 403),
        ("GET", "/v1/models/any/model", "/v1/models/{model_id:path}", 404),
        ("PUT", "/ocr/page", "/ocr/page", 405),
        ("HEAD", "/version", "/version", 200),
        ("GET", "/no/such", "unmatched", 404),
    ],
)
def test_a_line_of_the_log_has_what_it_says_as_fields(
    keyed: LiveServer, method: str, path: str, route: str, status: int
) -> None:
    answer = keyed.client.request(method, path)
    line = line_of(keyed, answer.headers["x-request-id"])
    assert {name: line[name] for name in ("method", "route", "status", "model")} == {
        "method": method,
        "route": route,
        "status": status,
        "model": None,
    }
    assert line["seconds"] > 0
    assert line["message"] == f"{method} {route} {status}"


def test_a_route_is_named_to_whom_it_is_closed_as_well(keyed: LiveServer) -> None:
    answer = keyed.client.post("/ocr/page", headers={"X-API-Key": "wrong"})
    line = line_of(keyed, answer.headers["x-request-id"])
    assert (line["route"], line["status"], line["code"]) == ("/ocr/page", 401, "invalid_credentials")
    counted = 'llm_vision_requests_total{method="POST",route="/ocr/page",status="401"}'
    assert keyed.metric(counted) == 1


def test_the_model_that_answers_is_named(keyed: LiveServer) -> None:
    answer = keyed.ocr(mark=4)
    line = line_of(keyed, answer.headers["x-request-id"])
    assert (line["route"], line["status"], line["model"]) == ("/ocr", 200, "faulty")
