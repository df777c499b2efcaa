"""A picture with more lines than are read: every route that reads says so, each in its own shape."""

from __future__ import annotations

import base64
import json

import pytest
from PIL import Image

from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.live import LiveServer, Start
from fixtures.remote_pictures import PAGES, Remote, sends

COLUMNS = draw_bubble(["この道を", "まっすぐ行けば", "海に出るよ"], 30)[0]
MANY = saved(COLUMNS, "PNG")
FEW = saved(draw_bubble(["ただいま！"], 30)[0], "PNG")
URLS = {"VISION_URL_HOSTS": "127.0.0.1", "VISION_URL_HTTP": "true", "VISION_URL_PRIVATE": "true"}


@pytest.fixture(scope="module")
def server(start_module_server: Start) -> LiveServer:
    return start_module_server({"VISION_OCR_MAX_LINES": "2", **URLS})


@pytest.mark.parametrize("path", ["/ocr", "/ocr/page"])
def test_json(server: LiveServer, path: str) -> None:
    answer = server.client.post(path, files={"file": ("a.png", MANY)}).json()
    assert answer["truncated"] is True
    assert "VISION_OCR_MAX_LINES" in answer["notice"]
    few = server.client.post(path, files={"file": ("a.png", FEW)}).json()
    assert few["truncated"] is False
    assert "VISION_OCR_MAX_LINES" not in (few["notice"] or "")


@pytest.mark.parametrize(
    ("path", "fields", "accept"),
    [
        ("/ocr", {}, "text/plain"),
        ("/ocr/page", {"format": "text"}, "*/*"),
        ("/ocr/page", {"format": "mokuro"}, "*/*"),
        ("/ocr/page", {"format": "image"}, "*/*"),
    ],
)
def test_answers_without_a_place_for_it_have_a_header(
    server: LiveServer, path: str, fields: dict[str, str], accept: str
) -> None:
    told = [
        server.client.post(path, files={"file": ("a.png", picture)}, data=fields, headers={"Accept": accept}).headers
        for picture in (MANY, FEW)
    ]
    assert [headers.get("x-truncated") for headers in told] == ["true", None]


def test_a_batch(server: LiveServer) -> None:
    files = [("files", ("a.png", picture)) for picture in (MANY, FEW)]
    entries = server.client.post("/ocr/batch", files=files).json()
    assert [entry["result"]["truncated"] for entry in entries] == [True, False]


def test_imagetrans(server: LiveServer) -> None:
    for path in ("/ocr", "/detect"):
        many, few = (
            server.client.post(path, files={"upload": ("a.png", picture)}, data={"lang": "japan"}).json()
            for picture in (MANY, FEW)
        )
        assert many["truncated"] is True
        assert few.keys() == {"text_lines"}
    plain = server.client.post("/ocr", files={"upload": ("a.png", MANY)})
    assert plain.headers["x-truncated"] == "true"


def test_owocr(server: LiveServer) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    many, few = (server.client.post("/", content=picture, headers=headers).json() for picture in (MANY, FEW))
    assert many["truncated"] is True
    assert "truncated" not in few


def test_mangatan(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PAGES, "/many.png", sends(MANY))
    with Remote() as remote:
        answer = server.client.get("/ocr", params={"url": remote.url("/many.png")})
    assert answer.headers["x-truncated"] == "true"


def test_a_chat_ends_for_want_of_length(server: LiveServer) -> None:
    for picture, reason in ((MANY, "length"), (FEW, "stop")):
        image = {"url": "data:image/png;base64," + base64.b64encode(picture).decode()}
        body = {
            "model": "rapidocr",
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": image}]}],
        }
        answer = server.client.post("/v1/chat/completions", content=json.dumps(body),
                                    headers={"Content-Type": "application/json"}).json()  # fmt: skip
        assert answer["choices"][0]["finish_reason"] == reason


def test_an_analysis_has_a_notice(server: LiveServer) -> None:
    large = Image.new("RGB", (600, 600), "white")
    large.paste(COLUMNS, (100, 100))
    answer = server.client.post(
        "/analyze_image", files={"file": ("a.png", saved(large, "PNG"))}, data={"prompt": "What text is in it?"}
    ).json()
    assert "VISION_OCR_MAX_LINES" in answer["notice"]
