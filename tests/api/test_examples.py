"""Every operation of the OpenAPI document has an example that works as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llm_vision.api.shared.request_docs import PICTURE, PICTURE_NAME

PATHS = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())["paths"]
OPERATIONS = [(method, path) for path, methods in PATHS.items() for method in methods]
ON_PURPOSE = {("delete", "/api/delete"): 409, ("post", "/models/delete"): 409}
"""What the example names is part of the installation, so it cannot be deleted."""


def parameters(operation: dict[str, Any], where: str) -> dict[str, Any]:
    found = [one for one in operation.get("parameters", ()) if one["in"] == where]
    return {one["name"]: next(iter(one["examples"].values()))["value"] for one in found if "examples" in one}


def ask(client: httpx2.Client, method: str, path: str, kind: str | None) -> httpx2.Response:
    operation = PATHS[path][method]
    url = path.format(**parameters(operation, "path"))
    query = parameters(operation, "query")
    if kind is None:
        return client.request(method, url, params=query)
    body = operation["requestBody"]["content"][kind]
    if "example" in body:
        return client.request(method, url, params=query, json=body["example"])
    if kind != "multipart/form-data":
        return client.request(method, url, params=query, content=PICTURE, headers={"Content-Type": kind})
    fields = body["schema"]["properties"]
    (file,) = {"file", "files"} & fields.keys()
    texts = {name: field.get("example", field.get("default")) for name, field in fields.items() if name != file}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in texts.items()}
    return client.request(method, url, params=query, data=texts, files={file: (PICTURE_NAME, PICTURE)})


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[f"{method} {path}" for method, path in OPERATIONS])
def test_the_example_works(client: httpx2.Client, method: str, path: str) -> None:
    kinds = PATHS[path][method].get("requestBody", {}).get("content", {None: None})
    for kind in kinds:
        answer = ask(client, method, path, kind)
        assert answer.status_code == ON_PURPOSE.get((method, path), 200), (kind, answer.text)


def test_optional_fields_are_empty() -> None:
    form = PATHS["/analyze_image"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {name for name, field in form.items() if field.get("example") == ""} == {
        "model", "history", "temperature", "top_p", "choices", "url",
    }  # fmt: skip
    assert form["prompt"]["default"]


def test_a_browser_is_led_from_the_root_to_the_page(client: httpx2.Client) -> None:
    browser = client.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["location"]) == (302, "/docs")
    assert client.get("/").text == "Ollama is running"
