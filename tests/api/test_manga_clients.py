"""Manga tools, each as the bytes that it sends."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from urllib.parse import quote

import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from fixtures.comic_pages import draw_comic_page
from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.live import LiveServer
from fixtures.raw_http import RawAnswer, request, send_raw
from fixtures.remote_pictures import Remote
from fixtures.waiting import eventually

BOUNDARY = "---------------------------1461124740692"


def encoded(picture: Image.Image, kind: str = "JPEG") -> bytes:
    return saved(picture, kind, **({"quality": 100} if kind == "JPEG" else {}))


@pytest.fixture(scope="module")
def bubble() -> Image.Image:
    return draw_bubble(["電車に", "乗り遅れた"], 34)[0]


def imagetrans(server: LiveServer, path: str, picture: Image.Image, **fields: str) -> RawAnswer:
    """What its plugins send: fields first, then a JPEG that calls itself image/jpg."""
    body = b""
    for name, value in fields.items():
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    body += (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="upload"; filename="image.jpg"\r\n'
        "Content-Type: image/jpg\r\n\r\n"
    ).encode() + encoded(picture)
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Connection": "Keep-Alive",
        "Accept-Encoding": "gzip",
        "User-Agent": "okhttp/3.12.13",
    }
    return send_raw(server.port, request(path, body, headers=headers))


def test_imagetrans_manga_ocr_gets_plain_text(server: LiveServer, bubble: Image.Image) -> None:
    answer = imagetrans(server, "/ocr", bubble)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.body.decode() == "電車に乗り遅れた"
    head = send_raw(
        server.port, request("/ocr", method="HEAD", headers={"User-Agent": "okhttp/3.12.13"}), method="HEAD"
    )
    assert (head.status, head.body) == (200, b"")


def test_imagetrans_paddle_ocr_gets_lines_with_corners(server: LiveServer, bubble: Image.Image) -> None:
    answer = imagetrans(server, "/ocr", bubble, lang="japan", engine="paddleocr")
    lines = json.loads(answer.body)["text_lines"]
    assert [line["text"] for line in lines] == ["電車に", "乗り遅れた"]
    right, left = lines
    assert right["x0"] > left["x0"], "the right column is read first"
    for line in lines:
        assert line["x0"] < line["x1"]
        assert line["y0"] < line["y3"]
        assert all(isinstance(line[f"{axis}{number}"], int) for axis in "xy" for number in range(4))


def test_imagetrans_detects_without_reading(server: LiveServer, bubble: Image.Image) -> None:
    answer = imagetrans(server, "/detect", bubble, lang="japan", engine="paddleocr")
    lines = json.loads(answer.body)["text_lines"]
    assert [line["text"] for line in lines] == ["", ""]


def test_a_path_on_this_machine_is_no_picture(server: LiveServer) -> None:
    """The paddleOCR plugin sends `path` instead of a file to a server on its own machine: no file is ever opened so."""
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="path"\r\n\r\n/etc/passwd\r\n--{BOUNDARY}--\r\n'.encode()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    assert send_raw(server.port, request("/detect", body, headers=headers)).code == "file_required"


def owocr(server: LiveServer, picture: Image.Image, query: str = "") -> dict:
    """What owocr posts through curl: a PNG with the Content-Type of a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "*/*"}
    answer = send_raw(server.port, request(f"/{query}", encoded(picture, "PNG"), headers=headers))
    assert answer.status == 200
    return dict(json.loads(answer.body))


def test_owocr_oneocr_gets_lines_and_characters_with_corners(server: LiveServer, bubble: Image.Image) -> None:
    found = owocr(server, bubble)
    assert found["text"] == "電車に乗り遅れた"
    assert [line["text"] for line in found["lines"]] == ["電車に", "乗り遅れた"]
    for line in found["lines"]:
        corners = line["bounding_rect"]
        assert set(corners) == {f"{axis}{number}" for axis in "xy" for number in range(1, 5)}
        assert "".join(word["text"] for word in line["words"]) == line["text"]
        tops = [word["bounding_rect"]["y1"] for word in line["words"]]
        assert tops == sorted(tops)
        assert tops[0] == pytest.approx(corners["y1"], abs=1)
        assert line["words"][-1]["bounding_rect"]["y3"] == pytest.approx(corners["y3"], abs=1)


def test_owocr_winrtocr_gets_upright_boxes(server: LiveServer, bubble: Image.Image) -> None:
    found = owocr(server, bubble, "?lang=ja")
    assert [line["text"] for line in found["lines"]] == ["電車に", "乗り遅れた"]
    word = found["lines"][0]["words"][0]["bounding_rect"]
    assert set(word) == {"x", "y", "width", "height"}
    assert 0 < word["x"] < bubble.width


def test_owocr_gets_a_page_in_reading_order(server: LiveServer) -> None:
    page = draw_comic_page("manga", 1)
    text = owocr(server, page.picture)["text"]
    truth = "\n".join(block.text for block in page.blocks)
    assert Levenshtein.distance(text, truth) <= 0.05 * len(truth)


def test_owocr_gets_no_lines_of_an_empty_picture(server: LiveServer) -> None:
    assert owocr(server, Image.new("RGB", (300, 200), "white")) == {"text": "", "lines": []}


def test_home_made_clients_may_call_the_file_image(server: LiveServer, bubble: Image.Image) -> None:
    answer = server.client.post("/ocr", files={"image": encoded(bubble, "PNG")})
    assert answer.json()["text"] == "電車に乗り遅れた"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_raw_body_is_sniffed(server: LiveServer, bubble: Image.Image, kind: str) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    answer = send_raw(server.port, request("/ocr", encoded(bubble, kind), headers=headers))
    assert json.loads(answer.body)["text"] == "電車に乗り遅れた"


def test_what_is_no_picture_is_refused(server: LiveServer) -> None:
    answer = send_raw(server.port, request("/", b"name=value", headers={"Content-Type": "text/plain"}))
    assert (answer.status, answer.code) == (415, "unsupported_image_format")


def test_who_leaves_while_a_picture_is_fetched_ends_that(start_server: Callable[..., LiveServer]) -> None:
    settings = {"VISION_URL_HOSTS": "127.0.0.1", "VISION_URL_PRIVATE": "true", "VISION_URL_HTTP": "true"}
    server = start_server({**settings, "VISION_URL_SECONDS": "60"})
    with Remote() as remote:
        target = "/ocr?url=" + quote(remote.url("/drip"), safe="")
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            leaving.sendall(request(target, method="GET"))
            eventually(lambda: remote.asked)
        eventually(lambda: "GET /ocr 499" in server.log)
