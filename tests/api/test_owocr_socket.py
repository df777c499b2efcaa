"""owocr's WebSocket, asked as meikipop does: through the same library, with a BMP."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psutil
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fixtures.comic_pages import draw_comic_page
from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.live import LiveServer, Start, free_port
from fixtures.raw_http import AT_ONCE, PATIENCE, is_closed, send_raw
from fixtures.requests import ocr_request
from fixtures.waiting import eventually
from llm_vision.api.manga_tools.owocr_socket import MOST_CONNECTIONS, MOST_OF_ONE, MOST_WAITING


@pytest.fixture(scope="module")
def port(start_module_server: Start) -> int:
    found = free_port()
    start_module_server({"VISION_OWOCR_PORT": str(found), "VISION_MAX_FILE_MB": "8"})
    return found


def opened(port: int, **options: Any) -> ClientConnection:
    return connect(
        f"ws://127.0.0.1:{port}",
        open_timeout=PATIENCE,
        close_timeout=1,
        ping_interval=20,
        ping_timeout=PATIENCE,
        **options,
    )


EMPTY = saved(Image.new("RGB", (200, 100), "white"), "BMP")


def ask(connection: ClientConnection, data: bytes) -> dict[str, Any]:
    connection.send(data)
    assert connection.recv(timeout=PATIENCE) == "True"
    return dict(json.loads(connection.recv(timeout=PATIENCE)))


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
        assert ask(connection, EMPTY)["paragraphs"] == []


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
    with socket.create_connection(("127.0.0.1", port)) as sock, pytest.raises(InvalidStatus) as refused:
        connect(f"ws://evil.example:{port}", sock=sock)
    assert refused.value.response.status_code == 400


def test_of_a_clients_connections_the_one_that_is_idle_for_longest_is_ended_for_a_new_one(port: int) -> None:
    with ExitStack() as stack:
        first, second, *_ = [stack.enter_context(opened(port)) for _ in range(MOST_OF_ONE)]
        assert ask(first, EMPTY)["paragraphs"] == []
        with opened(port) as one_more:
            assert close_code(second) == 1013
            assert ask(one_more, EMPTY)["paragraphs"] == []
        assert ask(first, EMPTY)["paragraphs"] == []


def test_idle_connections_of_one_client_keep_no_other_out(start_server: Start) -> None:
    keys = [f"greedy{number}" for number in range(MOST_CONNECTIONS // MOST_OF_ONE)]
    reader = Socket(start_server, settings={"API_KEYS": ",".join([*keys, "other"])})
    with ExitStack() as stack:
        idle = [stack.enter_context(reader.opened(key)) for key in keys for _ in range(MOST_OF_ONE)]
        with reader.opened("other") as connection:
            assert "error" not in ask(connection, EMPTY)
            assert close_code(idle[0]) == 1013
            assert "error" not in ask(idle[1], EMPTY)
        assert reader.server.client.get("/metrics", headers={"X-API-Key": "other"}).text.count("_pushed_out_total 1.0")


def test_where_all_are_busy_the_next_one_is_refused(start_server: Start) -> None:
    reader = Socket(start_server)
    with reader.held() as go_on, ExitStack() as stack:
        busy = [stack.enter_context(reader.opened()) for _ in range(MOST_OF_ONE)]
        for connection in busy:
            connection.send(EMPTY)
            assert connection.recv(timeout=PATIENCE) == "True"
        with reader.opened() as one_more:
            assert close_code(one_more) == 1013
        go_on()
        for connection in busy:
            assert json.loads(connection.recv(timeout=PATIENCE))["image_properties"] == {"width": 200, "height": 100}


def test_connections_that_are_not_let_in_keep_no_other_out(port: int) -> None:
    with ExitStack() as stack:
        stalled = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(MOST_WAITING)]
        with opened(port) as connection:
            assert ask(connection, EMPTY)["paragraphs"] == []
        assert is_closed(stalled[0])


def test_keys_are_asked_for(start_server: Start) -> None:
    port = free_port()
    server = start_server({"VISION_OWOCR_PORT": str(port), "VISION_API_KEYS": "sesame"})
    server.client.headers["X-API-Key"] = "sesame"
    with pytest.raises(InvalidStatus) as refused, opened(port):
        pass
    assert refused.value.response.status_code == 401
    assert server.metric('llm_vision_errors_total{code="missing_credentials"}') == 1
    with opened(port, additional_headers={"Authorization": "Bearer sesame"}) as connection:
        assert ask(connection, EMPTY)["paragraphs"] == []


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
            connection.recv(timeout=PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    eventually(lambda: server.process.poll() == 0)


class Socket:
    """A server with owocr's WebSocket, whose reader can be held."""

    def __init__(self, start_server: Start, **options: Any) -> None:
        self.port = free_port()
        settings = {f"VISION_{name}": str(value) for name, value in options.pop("settings", {}).items()}
        settings |= {"VISION_OWOCR_PORT": str(self.port), "HF_TEST_EMPTY_PAGES": "1"}
        self.server = start_server(settings, **options)

    def opened(self, key: str = "") -> ClientConnection:
        return opened(self.port, additional_headers={"X-API-Key": key} if key else None)

    @contextmanager
    def held(self) -> Iterator[Callable[[], None]]:
        """The reader's process does nothing until what is yielded is called, or the context ends."""
        with self.opened() as connection:
            ask(connection, EMPTY)
        (reader,) = self.server.children("child.main")
        reader.suspend()
        try:
            yield reader.resume
        finally:
            with suppress(psutil.NoSuchProcess):
                reader.resume()

    def begin(self, connection: ClientConnection) -> None:
        """Send a picture, and wait until it is being read."""
        connection.send(EMPTY)
        assert connection.recv(timeout=PATIENCE) == "True"
        eventually(lambda: self.server.in_use("rapidocr") == 1)

    def terminate(self) -> None:
        """Ask for the stop, and wait until it has begun."""
        self.server.process.terminate()
        eventually(lambda: not _accepts(self.server.port))

    def connections(self) -> int:
        """How many are open at the gateway."""
        found = psutil.Process(self.server.process.pid).net_connections()
        return sum(one.laddr.port == self.port and one.status == psutil.CONN_ESTABLISHED for one in found)

    def errors(self, code: str) -> float:
        return self.server.metric(f'llm_vision_errors_total{{code="{code}"}}')


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def error_of(answer: dict[str, Any]) -> str:
    assert answer["paragraphs"] == []
    return str(answer["error"]["code"])


def close_code(connection: ClientConnection) -> int:
    """How the server ends a connection."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=PATIENCE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_a_stop_answers_the_picture_that_is_being_read(start_server: Start) -> None:
    reader = Socket(start_server)
    with reader.held() as go_on, reader.opened() as connection, reader.opened() as idle:
        reader.begin(connection)
        reader.terminate()
        assert close_code(idle) == 1001
        go_on()
        assert json.loads(connection.recv(timeout=PATIENCE))["image_properties"] == {"width": 200, "height": 100}
        assert close_code(connection) == 1001
    assert reader.server.process.wait(PATIENCE) == 0
    assert "Traceback" not in reader.server.log


def test_a_picture_that_is_not_read_by_the_end_of_the_stop_is_told_so(start_server: Start) -> None:
    reader = Socket(start_server, settings={"DRAIN_SECONDS": 2})
    with reader.held(), reader.opened() as connection:
        reader.begin(connection)
        reader.server.process.terminate()
        assert error_of(json.loads(connection.recv(timeout=PATIENCE))) == "shutting_down"
        assert close_code(connection) == 1001


def test_a_service_that_stops_takes_no_more_pictures(start_server: Start) -> None:
    reader = Socket(start_server)
    with reader.opened() as connection, ThreadPoolExecutor() as threads:
        running = threads.submit(reader.server.ocr, "wait_for")
        eventually(lambda: reader.server.journal_has("started"))
        reader.terminate()
        with pytest.raises(InvalidStatus) as refused, reader.opened():
            pass
        assert refused.value.response.status_code == 503
        assert error_of(ask(connection, EMPTY)) == "shutting_down"
        assert close_code(connection) == 1001
        reader.server.go()
        assert running.result().status_code == 200


def test_a_second_signal_waits_for_no_picture(start_server: Start) -> None:
    reader = Socket(start_server)
    with reader.held(), reader.opened() as connection, reader.opened() as idle:
        reader.begin(connection)
        reader.terminate()
        assert close_code(idle) == 1001
        reader.server.process.terminate()
        assert error_of(json.loads(connection.recv(timeout=PATIENCE))) == "shutting_down"
        assert reader.server.process.wait(PATIENCE) == 0


def test_a_client_that_leaves_stops_its_work(start_server: Start) -> None:
    reader = Socket(start_server)
    with reader.held():
        with reader.opened() as connection:
            reader.begin(connection)
        eventually(lambda: reader.server.in_use("rapidocr") == 0)
        assert reader.server.metric('llm_vision_requests_total{method="POST",route="websocket",status="499"}') == 1
    assert "Traceback" not in reader.server.log


def test_pictures_of_a_minute_are_counted_by_key_on_both_ports(start_server: Start) -> None:
    reader = Socket(start_server, settings={"API_KEYS": "busy,other", "KEY_REQUESTS_PER_MINUTE": 2})
    with reader.opened("busy") as connection:
        assert "error" not in ask(connection, EMPTY)
        assert send_raw(reader.server.port, ocr_request(key="busy")).status == 200
        assert error_of(ask(connection, EMPTY)) == "rate_limited"
    assert send_raw(reader.server.port, ocr_request(key="busy")).status == 429
    with reader.opened("other") as connection:
        assert "error" not in ask(connection, EMPTY)


def test_connections_that_send_nothing_take_no_file_from_others(start_server: Start) -> None:
    reader = Socket(start_server, under=("prlimit", "--nofile=160"))
    with ExitStack() as stack:
        stalled = [
            stack.enter_context(socket.create_connection(("127.0.0.1", reader.port), timeout=PATIENCE))
            for _ in range(160)
        ]
        assert send_raw(reader.server.port, ocr_request(mark=4)).problem["text"] == "4"
        assert is_closed(stalled[0])
        assert not is_closed(stalled[-1], patience=AT_ONCE)
        with reader.opened() as connection:
            assert "error" not in ask(connection, EMPTY)
    assert reader.server.metric("llm_vision_connections_pushed_out_total") >= 100


MEBIBYTE = 2**20


def send_half(connection: ClientConnection) -> None:
    """The first half of a picture of 12 MiB, in a frame as a client writes it."""
    connection.socket.sendall(b"\x82\xff" + (12 * MEBIBYTE).to_bytes(8) + bytes(4) + bytes(6 * MEBIBYTE))


def upload(server: LiveServer) -> int:
    return server.client.post("/ocr", content=bytes(6 * MEBIBYTE), headers={"Content-Type": "image/png"}).status_code


def test_pictures_and_uploads_share_a_budget(start_server: Start) -> None:
    reader = Socket(start_server, settings={"BUFFER_MB": 17, "MAX_FILE_MB": 12})
    assert upload(reader.server) == 415, "no picture, but there is room for it"
    with reader.opened() as first, reader.opened() as second, reader.opened() as third:
        send_half(first)
        send_half(second)
        send_half(third)
        eventually(lambda: reader.errors("queue_full") == 2)
        assert upload(reader.server) == 429
        eventually(lambda: 1013 in {connection.close_code for connection in (first, second, third)})
    eventually(lambda: upload(reader.server) == 415)


def test_a_picture_that_comes_too_slowly_ends_its_connection(start_server: Start) -> None:
    reader = Socket(start_server, settings={"BODY_SECONDS": 1})
    with reader.opened() as idle, reader.opened() as slow:
        send_half(slow)
        assert close_code(slow) == 1013
        assert reader.errors("request_timeout") == 1
        assert "error" not in ask(idle, EMPTY), "a connection may be idle"


def test_a_picture_in_drops_is_too_slow_as_well(start_server: Start) -> None:
    reader = Socket(start_server, settings={"BODY_SECONDS": 2})
    with reader.opened() as slow:
        slow.socket.sendall(b"\x82\xff" + (12 * MEBIBYTE).to_bytes(8) + bytes(4))
        for _ in range(3):
            slow.socket.sendall(bytes(500))
            time.sleep(0.1)
        assert close_code(slow) == 1013
        assert reader.errors("request_timeout") == 1


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def framed(picture: bytes) -> bytes:
    """As a client writes it, where it has between 126 and 65535 bytes."""
    return b"\x82\xfe" + len(picture).to_bytes(2) + bytes(4) + picture


@contextmanager
def lazy_client(port: int) -> Iterator[socket.socket]:
    """A WebSocket whose client reads nothing unless it is asked to."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        sock.sendall(HANDSHAKE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        yield sock


PING = b"\x89\xfd" + bytes(4 + 125)
TEXT = b"\x81\x80" + bytes(4)


def pour(sock: socket.socket, flood: bytes, mebibytes: int) -> None:
    """Ask for answers that nobody fetches."""
    data = memoryview(flood * (mebibytes * MEBIBYTE // len(flood)))
    while data:
        data = data[sock.send(data[:65536]) :]


@pytest.mark.parametrize("flood", [PING * 500, PING * 500 + TEXT * 3], ids=["pings", "pings and texts"])
def test_pings_whose_answers_nobody_fetches_are_not_read(start_server: Start, flood: bytes) -> None:
    reader = Socket(start_server)
    with lazy_client(reader.port) as sock:
        with pytest.raises(ConnectionError):
            pour(sock, flood, 25)
        assert psutil.Process(reader.server.process.pid).memory_info().rss < 150 * MEBIBYTE
    with reader.opened() as connection:
        assert "error" not in ask(connection, EMPTY)


def test_a_picture_is_not_late_while_the_one_before_is_being_read(start_server: Start) -> None:
    reader = Socket(start_server, settings={"BODY_SECONDS": 1})
    with reader.held() as go_on, reader.opened() as connection:
        connection.socket.sendall(2 * framed(saved(Image.new("RGB", (200, 100), "white"))))
        eventually(lambda: reader.server.in_use("rapidocr") == 1)
        connection.send(EMPTY)
        time.sleep(1.5)
        go_on()
        for _ in range(3):
            assert connection.recv(timeout=PATIENCE) == "True"
            assert "error" not in json.loads(connection.recv(timeout=PATIENCE))


def test_a_client_that_does_not_fetch_its_answer_is_let_go(start_server: Start) -> None:
    reader = Socket(start_server, settings={"BODY_SECONDS": 1})
    with reader.held() as go_on, lazy_client(reader.port) as sock:
        sock.sendall(framed(EMPTY))
        eventually(lambda: reader.server.in_use("rapidocr") == 1)
        with suppress(ConnectionError):
            pour(sock, PING * 500, 6)
        go_on()
        eventually(lambda: reader.connections() == 0)


def test_every_picture_is_counted_and_logged_with_an_id_of_its_own(start_server: Start) -> None:
    reader = Socket(start_server)
    with opened(reader.port, additional_headers={"X-Request-Id": "of-the-connection"}) as connection:
        assert "error" not in ask(connection, EMPTY)
        ids = []
        for _ in range(2):
            refused = ask(connection, b"no picture")
            assert error_of(refused) == "unsupported_image_format"
            ids.append(refused["error"]["request_id"])
    assert len(set(ids) - {"of-the-connection"}) == 2
    for request_id in ids:
        (line,) = [line for line in reader.server.log.splitlines() if f"[{request_id}]" in line]
        assert "code=unsupported_image_format" in line
    assert len(re.findall(r"POST websocket (\d+)", reader.server.log)) == 3
    assert reader.server.metric('llm_vision_requests_total{method="POST",route="websocket",status="200"}') == 1
    assert reader.server.metric('llm_vision_requests_total{method="POST",route="websocket",status="415"}') == 2
    assert reader.errors("unsupported_image_format") == 2
