"""POST /ocr and GET /languages over a real socket: shapes, options, refusals."""

from __future__ import annotations

import base64

import httpx2
import pytest
from PIL import Image

from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.live import LiveServer, picture_bytes


@pytest.fixture(scope="module")
def bubble() -> tuple[bytes, str]:
    picture, truth = draw_bubble(["明日は早く", "起きよう"])
    return saved(picture), truth


def test_a_bubble_is_read_with_the_seeds_two_fields(client: httpx2.Client, bubble: tuple[bytes, str]) -> None:
    answer = client.post("/ocr", files={"file": bubble[0]})
    assert answer.status_code == 200
    body = answer.json()
    assert body["text"] == bubble[1]
    assert body["language"] == "ja"
    assert 0.5 < body["confidence"] <= 1
    assert {key: body[key] for key in ("engine", "no_text", "degraded")} == {
        "engine": "rapidocr",
        "no_text": False,
        "degraded": True,
    }
    assert "kha-white/manga-ocr-base" in body["notice"]


def test_plain_text_by_accept(client: httpx2.Client, bubble: tuple[bytes, str]) -> None:
    answer = client.post("/ocr", files={"file": bubble[0]}, headers={"Accept": "text/plain"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == bubble[1] + "\n"


@pytest.mark.parametrize("accept", ["*/*", "application/json, text/plain", "text/html, application/json"])
def test_json_for_every_other_accept(client: httpx2.Client, accept: str) -> None:
    answer = client.post("/ocr", files={"file": picture_bytes()}, data={"engine": "faulty"}, headers={"Accept": accept})
    assert answer.headers["content-type"] == "application/json"


def test_raw_bytes_and_base64_are_read_like_a_form(client: httpx2.Client) -> None:
    data = picture_bytes(mark=7)
    raw = client.post("/ocr?engine=faulty&language=en", content=data, headers={"Content-Type": "image/png"})
    encoded = base64.b64encode(data).decode()
    as_json = client.post("/ocr", json={"image": encoded, "engine": "faulty", "language": "en"})
    as_uri = client.post(
        "/ocr", json={"image": f"data:image/png;base64,{encoded}", "engine": "faulty", "language": "en"}
    )
    form = client.post("/ocr", files={"file": data}, data={"engine": "faulty", "language": "en"})
    assert raw.json() == as_json.json() == as_uri.json() == form.json()
    assert form.json()["text"] == "7"


def test_blank_pictures_have_no_text(client: httpx2.Client) -> None:
    for colour in ("white", "black", "gray"):
        body = client.post("/ocr", files={"file": saved(Image.new("RGB", (200, 300), colour))}).json()
        assert (body["text"], body["no_text"], body["confidence"]) == ("", True, None)


@pytest.mark.parametrize("language", ["ja", "JA", "ja-JP", "ja_JP", ""])
def test_languages_are_found_by_any_usual_spelling(server: LiveServer, language: str) -> None:
    assert server.ocr(language=language).json()["language"] == "ja"


def test_a_language_that_is_not_read_is_refused_with_the_list(server: LiveServer) -> None:
    answer = server.client.post("/ocr", files={"file": picture_bytes()}, data={"language": "ko"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_language")
    assert "ja" in answer.json()["detail"]


def test_languages_lists_what_can_be_asked_for(client: httpx2.Client) -> None:
    languages = {entry["code"]: entry for entry in client.get("/languages").json()["languages"]}
    assert languages["ja"]["name"] == "Japanese"
    assert "rapidocr" in languages["ja"]["engines"]
    assert not {"ko", "ru", "ar", "th", "hi"} & languages.keys()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"engine": "nothing"}, 404, "model_not_found"),
        ({"engine": "../../etc/passwd"}, 404, "model_not_found"),
        ({"engine": "second"}, 422, "unsupported_task"),
        ({"furigana": "perhaps"}, 422, "invalid_parameter"),
        ({"language": "j\x00a"}, 422, "invalid_text"),
    ],
)
def test_wrong_options_are_refused(server: LiveServer, fields: dict[str, str], status: int, code: str) -> None:
    answer = server.client.post("/ocr", files={"file": picture_bytes()}, data=fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "passwd" not in answer.text


def test_a_wrong_task_is_refused_without_loading_the_model(server: LiveServer) -> None:
    server.client.post("/ocr", files={"file": picture_bytes()}, data={"engine": "second"})
    states = {model["id"]: model["state"] for model in server.client.get("/models").json()["models"]}
    assert states["second"] == "not_loaded"
    assert not any(line.startswith("load second") for line in server.journal)


def test_unknown_fields_are_ignored(server: LiveServer) -> None:
    assert server.ocr(colour="blue").status_code == 200


def test_head_answers_for_clients_that_ask_whether_ocr_is_here(client: httpx2.Client) -> None:
    answer = client.head("/ocr")
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_order_of_answers_is_the_order_of_requests_even_side_by_side(server: LiveServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda mark: server.ocr(mark=mark), range(1, 33)))
    texts = [answer.json().get("text") for answer in answers if answer.status_code == 200]
    marks = [str(mark) for mark, answer in zip(range(1, 33), answers, strict=True) if answer.status_code == 200]
    assert texts == marks
    assert {answer.status_code for answer in answers} <= {200, 429}
