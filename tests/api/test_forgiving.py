"""Forms that newcomers send: lists with commas, fields that come twice, fields that are misspelt."""

from __future__ import annotations

import httpx2
import pytest

from fixtures.live import picture_bytes

FILE = {"file": ("crop.png", picture_bytes(mark=7))}


@pytest.mark.parametrize("choices", ["yes,no", " yes , no ,", '["yes", "no"]', ["yes", "no"]])
def test_choices_are_understood_however_they_are_written(client: httpx2.Client, choices: str | list[str]) -> None:
    sent = [("file", FILE["file"])]
    texts = [choices] if isinstance(choices, str) else choices
    sent += [("choices", (None, text)) for text in texts]  # type: ignore[misc]
    answer = client.post("/analyze_image", files=[*sent, ("model", (None, "embedded-analysis"))])
    assert answer.json()["code"] == "unsupported_task", "they were read; this model cannot decide"


def test_choices_of_a_raw_body_may_be_repeated(client: httpx2.Client) -> None:
    query = "/analyze_image?choices=yes&choices=no&model=embedded-analysis"
    answer = client.post(query, content=FILE["file"][1], headers={"Content-Type": "image/png"})
    assert answer.json()["code"] == "unsupported_task"


@pytest.mark.parametrize(("field", "value"), [("history", "hello"), ("choices", '["yes", no]'), ("choices", "[")])
def test_a_field_that_is_no_json_is_named_with_its_right_form(client: httpx2.Client, field: str, value: str) -> None:
    refused = client.post("/analyze_image", files=FILE, data={field: value})
    body = refused.json()
    assert (refused.status_code, body["code"], body["error"]["param"]) == (400, "malformed_json", field)
    assert body["detail"].startswith(f"`{field}` is not JSON: send `")


@pytest.mark.parametrize("route", ["/ocr", "/ocr/page"])
def test_a_misspelt_field_is_told_and_ignored(client: httpx2.Client, route: str) -> None:
    body = client.post(route, files=FILE, data={"langauge": "en", "engine": "rapidocr"}).json()
    assert "did you mean `language`?" in body["notice"]
    assert "langauge" not in body["notice"]
    assert not body["degraded"]
    assert client.post(route, files=FILE, data={"page": "3", "engine": "rapidocr"}).json()["notice"] is None


def test_a_misspelt_field_of_json_and_of_a_query_is_told(client: httpx2.Client) -> None:
    raw = client.post("/ocr?engin=faulty", content=FILE["file"][1], headers={"Content-Type": "image/png"}).json()
    assert "did you mean `engine`?" in raw["notice"]
    asked = client.post("/analyze_image", files=FILE, data={"promt": "Which colours?", "model": "embedded-analysis"})
    assert "did you mean `prompt`?" in asked.json()["notice"]
