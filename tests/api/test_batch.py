"""POST /ocr/batch: many crops, results in order, each for itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import httpx2
import pytest

from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.waiting import eventually


def post(client: httpx2.Client, files: list[bytes], accept: str = "*/*", **fields: str) -> httpx2.Response:
    parts = [("files", (f"{number}.png", data)) for number, data in enumerate(files)]
    return client.post("/ocr/batch", files=parts, data=fields, headers={"Accept": accept})


def test_results_come_in_the_order_of_the_files(client: httpx2.Client) -> None:
    bubbles = [
        draw_bubble(["この道を"], 32),
        draw_bubble(["電車に", "乗り遅れた"], 32),
        draw_bubble(["星がきれい"], 32),
    ]
    found = post(client, [saved(picture) for picture, _ in bubbles]).json()
    assert [entry["index"] for entry in found] == [0, 1, 2]
    assert [entry["result"]["text"] for entry in found] == [text for _, text in bubbles]
    assert all(entry["error"] is None for entry in found)


def test_one_bad_file_does_not_spoil_the_others(client: httpx2.Client) -> None:
    good = picture_bytes(mark=7)
    found = post(client, [good, b"no picture", b"", good, good[:40]], engine="faulty").json()
    assert [entry["result"] and entry["result"]["text"] for entry in found] == ["7", None, None, "7", None]
    codes = [entry["error"] and entry["error"]["code"] for entry in found]
    assert codes == [None, "unsupported_image_format", "unsupported_image_format", None, "invalid_image"]


def test_each_bad_file_is_counted_and_logged_once(server: LiveServer) -> None:
    before = server.metric('llm_vision_errors_total{code="invalid_image"}')
    answer = post(server.client, [picture_bytes()[:40]] * 2, engine="faulty")
    assert server.metric('llm_vision_errors_total{code="invalid_image"}') == before + 2
    told = [line for line in server.log.splitlines() if answer.headers["x-request-id"] in line and "code=" in line]
    assert ["code=invalid_image" in line for line in told] == [True, True]


def test_a_file_that_is_too_large_fails_alone(start_server: Start) -> None:
    server = start_server({"VISION_MAX_FILE_MB": "0.1", "VISION_MAX_BATCH_MB": "0.18"})
    found = post(server.client, [picture_bytes(mark=3), b"x" * 110_000, picture_bytes(mark=4)], engine="faulty").json()
    assert [entry["result"] and entry["result"]["text"] for entry in found] == ["3", None, "4"]
    assert found[1]["error"]["code"] == "payload_too_large"
    whole = post(server.client, [b"x" * 100_000] * 2)
    assert (whole.status_code, whole.json()["code"]) == (413, "payload_too_large"), "all together are one body"


def test_more_files_than_the_queue_has_places_are_all_read(start_server: Start) -> None:
    server = start_server({"VISION_QUEUE_SIZE": "2"})
    found = post(server.client, [picture_bytes(mark=number) for number in range(60)], engine="one-by-one").json()
    assert [entry["result"]["text"] for entry in found] == [str(number) for number in range(60)]


def test_lines_come_as_they_are_read(server: LiveServer) -> None:
    files = [picture_bytes(mark=1), picture_bytes("wait_for", mark=2), picture_bytes(mark=3)]
    lines: list[dict] = []

    def ask() -> None:
        parts = [("files", ("a.png", data)) for data in files]
        with server.client.stream(
            "POST", "/ocr/batch", files=parts, data={"engine": "faulty"}, headers={"Accept": "application/x-ndjson"}
        ) as answer:
            assert answer.headers["content-type"].startswith("application/x-ndjson")
            lines.extend(json.loads(line) for line in answer.iter_lines())

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    eventually(lambda: server.journal_has("started 2"))
    server.go()
    asking.join(30)
    assert [line["result"]["text"] for line in lines] == ["1", "2", "3"]


def test_no_more_batches_than_may_are_read_and_no_client_has_all_of_them(start_server: Start) -> None:
    server = start_server({"VISION_API_KEYS": "greedy,polite"})
    greedy, polite = ({"X-API-Key": key} for key in ("greedy", "polite"))
    busy = picture_bytes("wait_for", mark=2)

    def ask(headers: dict[str, str]) -> httpx2.Response:
        parts = [("files", ("a.png", busy))]
        return httpx2.post(
            f"http://127.0.0.1:{server.port}/ocr/batch",
            files=parts,
            data={"engine": "faulty"},
            headers=headers,
            timeout=60,
        )

    found: list[httpx2.Response] = []
    asking = [threading.Thread(target=lambda: found.append(ask(greedy))) for _ in range(12)]
    for one in asking:
        one.start()
    eventually(lambda: len(found) == 8)
    assert {(answer.status_code, answer.json()["code"]) for answer in found} == {(429, "rate_limited")}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in found)
    other = threading.Thread(target=lambda: found.append(ask(polite)))
    other.start()
    eventually(lambda: server.journal_has("started 2"))
    server.go()
    for one in (*asking, other):
        one.join(60)
    assert sorted(answer.status_code for answer in found) == [200] * 5 + [429] * 8


def test_a_batch_ends_at_its_deadline(start_server: Start) -> None:
    server = start_server({"VISION_BATCH_SECONDS": "0.8"})
    found = post(server.client, [picture_bytes(mark=1), picture_bytes("hang", mark=2)], engine="faulty").json()
    assert found[1]["error"]["code"] == "deadline_exceeded"
    assert found[0]["result"] is None or found[0]["result"]["text"] == "1"


def test_who_leaves_stops_the_batch(server: LiveServer) -> None:
    files = [("files", ("a.png", picture_bytes("hang", mark=number))) for number in (201, 202, 203)]
    with pytest.raises(httpx2.TimeoutException):
        server.client.post("/ocr/batch", files=files, data={"engine": "one-by-one"}, timeout=1)
    eventually(lambda: server.in_use("one-by-one") == 0)
    assert not list(server.temporary.glob("tmp*"))


@pytest.mark.parametrize(
    ("send", "code"),
    [
        (lambda client: client.post("/ocr/batch", files=[("other", b"x")]), "file_required"),
        (lambda client: client.post("/ocr/batch", content=b"x", headers={"Content-Type": "image/png"}),
         "unsupported_media_type"),
        (lambda client: post(client, [picture_bytes()], engine="nobody"), "model_not_found"),
        (lambda client: post(client, [picture_bytes()], language="tlh", engine="rapidocr"), "unsupported_language"),
        (lambda client: post(client, [b"x"] * 65), "too_many_files"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_request_is_told_at_once(
    client: httpx2.Client, send: Callable[[httpx2.Client], httpx2.Response], code: str
) -> None:
    assert send(client).json()["code"] == code
