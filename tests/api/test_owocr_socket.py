"""owocr's WebSocket, asked as meikipop does: through the same library, with a BMP."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fixtures.comic_pages import draw_comic_page
from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.live import LiveServer, free_port
from fixtures.waiting import eventually
from llm_vision.api.owocr_socket import MOST_CONNECTIONS

Start = Callable[..., LiveServer]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    found = free_port()
    with tempfile.TemporaryDirectory() as folder:
        started = LiveServer(Path(folder), {"VISION_OWOCR_PORT": str(found), "VISION_MAX_FILE_MB": "8"})
        yield found
        assert started.stop() == 0, started.log


def opened(port: int, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}", open_timeout=3, ping_interval=20, ping_timeout=20, **options)


def ask(connection: ClientConnection, data: bytes) -> dict[str, Any]:
    connection.send(data)
    assert connection.recv(timeout=5) == "True"
    return dict(json.loads(connection.recv(timeout=30)))


def test_a_bubble_comes_as_words_with_places(port: int) -> None:
    picture, _ = draw_bubble(["電車に", "乗り遅れた"], 34)
    with opened(port) as connection:
        found = ask(connection, saved(picture, "BMP"))
    assert found["image_properties"] == {"width": picture.width, "height": picture.height}
    (paragraph,) = found["paragraphs"]
    assert paragraph["writing_direction"] == "TOP_TO_BOTTOM"
    assert [line["text"] for line in paragraph["lines"]] == ["電車に", "乗り遅れた"]
    for line in paragraph["lines"]:
        assert "".join(word["text"] for word in line["words"]) == line["text"]
        for word in line["words"]:
            box = word["bounding_box"]
            assert 0 < box["center_x"] < 1
            assert 0 < box["center_y"] < 1
            assert 0 < box["height"] < 1
    first, second = (line["bounding_box"]["center_x"] for line in paragraph["lines"])
    assert first > second, "the right column is read first"


def test_one_connection_asks_again_and_again(port: int) -> None:
    page = draw_comic_page("manga", 1)
    with opened(port) as connection:
        connection.send("a text means nothing")
        for _ in range(2):
            found = ask(connection, saved(page.picture, "BMP"))
            texts = ["".join(line["text"] for line in paragraph["lines"]) for paragraph in found["paragraphs"]]
            assert len(set(texts) & {block.text for block in page.blocks}) >= 0.5 * len(page.blocks)
        assert ask(connection, saved(Image.new("RGB", (200, 100), "white"), "BMP"))["paragraphs"] == []


def test_what_is_no_picture_is_answered_and_the_connection_lives(port: int) -> None:
    with opened(port) as connection:
        found = ask(connection, b"no picture")
        assert (found["paragraphs"], found["error"]["code"]) == ([], "unsupported_image_format")
        assert ask(connection, saved(draw_bubble(["海"], 40)[0], "BMP"))["image_properties"]["width"] > 0


def test_a_picture_that_is_too_large_ends_the_connection(port: int) -> None:
    with opened(port) as connection, pytest.raises(ConnectionClosed) as closed:
        ask(connection, b"x" * (9 * 2**20))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_foreign_pages_and_hosts_are_not_let_in(port: int) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        with pytest.raises(InvalidStatus) as refused, opened(port, additional_headers=headers):
            pass
        assert refused.value.response.status_code in (400, 403)


def test_only_so_many_may_be_connected(port: int) -> None:
    with ExitStack() as connections:
        for _ in range(MOST_CONNECTIONS):
            connections.enter_context(opened(port))
        with opened(port) as one_more, pytest.raises(ConnectionClosed):
            one_more.recv(timeout=10)
    with opened(port) as again:
        assert ask(again, saved(Image.new("RGB", (200, 100), "white"), "BMP"))["paragraphs"] == []


def test_keys_are_asked_for(start_server: Start) -> None:
    port = free_port()
    start_server({"VISION_OWOCR_PORT": str(port), "VISION_API_KEYS": "sesame"})
    with pytest.raises(InvalidStatus) as refused, opened(port):
        pass
    assert refused.value.response.status_code == 401
    with opened(port, additional_headers={"Authorization": "Bearer sesame"}) as connection:
        assert ask(connection, saved(Image.new("RGB", (200, 100), "white"), "BMP"))["paragraphs"] == []


def test_it_is_off_until_a_port_is_set(start_server: Start) -> None:
    server = start_server()
    assert "WebSocket" not in server.log
    with pytest.raises(InvalidStatus), opened(server.port):
        pass


def test_a_stop_says_goodbye(start_server: Start) -> None:
    port = free_port()
    server = start_server({"VISION_OWOCR_PORT": str(port)})
    with opened(port) as connection:
        server.process.terminate()
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    eventually(lambda: server.process.poll() == 0)
