"""Rows 77-87 of docs/reliability.md: keys, unknown names, and what happens inside a request's life."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest

from fixtures.chat_requests import JSON
from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.multipart import CONTENT_TYPE, field, form, part
from fixtures.problems import check
from fixtures.raw_http import RawAnswer, connect, read_answer, request, send_raw
from fixtures.requests import Asking, analyze_request, model_request, ocr_request
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied
from fixtures.waiting import PATIENCE, eventually

NEVER_RETRY = {"x-should-retry": "false"}


def load(server: LiveServer, action: str, model: str, key: str = "") -> RawAnswer:
    return send_raw(server.port, model_request(action, model, key))


@pytest.fixture(scope="module")
def locked(start_module_server: Start) -> LiveServer:
    return start_module_server({"VISION_API_KEYS": "user", "VISION_ADMIN_KEYS": "chief"})


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/version", {}, "missing_credentials"),
        ("/version", {"X-API-Key": ""}, "missing_credentials"),
        ("/version", {"Authorization": "Basic dXNlcjo="}, "missing_credentials"),
        ("/version?api_key=user&key=user&token=user", {}, "missing_credentials"),
        ("/version", {"X-API-Key": "usser"}, "invalid_credentials"),
        ("/version", {"Authorization": "Bearer use"}, "invalid_credentials"),
        ("/version", {"X-API-Key": "user,chief"}, "invalid_credentials"),
        ("/version", {"X-API-Key": "\xfc\xdf"}, "invalid_credentials"),
    ],
)
def test_row_77_no_or_wrong_key(locked: LiveServer, path: str, headers: dict[str, str], code: str) -> None:
    answer = send_raw(locked.port, request(path, method="GET", headers=headers))
    check(answer, 401, code)
    assert answer.headers["www-authenticate"] == "Bearer"


def test_row_78_admin_route_with_a_users_key(locked: LiveServer) -> None:
    for action in ("load", "unload"):
        check(load(locked, action, "faulty", "user"), 403, "forbidden")
        assert load(locked, action, "faulty", "chief").status == 200


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("seconds", [0, 60])
def test_row_78_ollamas_way_to_load_and_unload_with_a_users_key(locked: LiveServer, path: str, seconds: int) -> None:
    body = json.dumps({"model": "talker", "keep_alive": seconds}).encode()
    refused = send_raw(locked.port, request(path, body, headers={**JSON, "X-API-Key": "user"}))
    assert (refused.status, "VISION_ADMIN_KEYS" in json.loads(refused.body)["error"]) == (403, True)
    assert send_raw(locked.port, request(path, body, headers={**JSON, "X-API-Key": "chief"})).status == 200


@pytest.mark.parametrize("name", ["nothing", "../../etc/passwd", "../../x", "%2e%2e/x", "", "faulty2", "x" * 256])
def test_row_79_unknown_model(survivor: LiveServer, name: str) -> None:
    check(load(survivor, "load", name), 404, "model_not_found")
    check(load(survivor, "unload", name), 404, "model_not_found")
    if name:
        check(send_raw(survivor.port, ocr_request(engine=name)), 404, "model_not_found")
        body = form(part(picture_bytes()), field("model", name.encode()))
        asked = send_raw(survivor.port, request("/analyze_image", body, headers={"Content-Type": CONTENT_TYPE}))
        check(asked, 404, "model_not_found")
        assert name.encode() not in asked.body or name == "x"


def test_row_79a_language_and_task_that_the_model_lacks(survivor: LiveServer) -> None:
    answer = send_raw(survivor.port, ocr_request(language="tlh"))
    check(answer, 422, "unsupported_language")
    assert "ja, en" in answer.problem["detail"]
    check(send_raw(survivor.port, ocr_request(engine="second")), 422, "unsupported_task")


def test_row_79b_unload_of_a_model_in_use(start_server: Start) -> None:
    server = start_server()
    running = Asking(server.port, ocr_request("wait_for"))
    eventually(lambda: server.journal_has("started"))
    answer = load(server, "unload", "faulty")
    check(answer, 409, "model_in_use")
    assert answer.headers.items() >= NEVER_RETRY.items()
    server.go()
    assert running.answer.status == 200
    assert load(server, "unload", "faulty").problem["unloaded"] is True


def test_row_79c_a_prompt_longer_than_the_context(start_server: Start, tmp_path: Path) -> None:
    server = start_server({"TRANSFORMERS_CACHE": str(copied(LLAVA, tmp_path / "volume"))})
    check(send_raw(server.port, analyze_request("ab " * 4000, LLAVA_ID)), 422, "context_length_exceeded")
    assert send_raw(server.port, analyze_request("Count the shapes.", LLAVA_ID)).status == 200


@pytest.mark.parametrize("do", ["raise", "nan", "huge", "drop_one"])
def test_row_79d_a_models_own_failure(survivor: LiveServer, do: str) -> None:
    answer = send_raw(survivor.port, ocr_request(do))
    check(answer, 500, "inference_failed")
    assert answer.headers.items() >= NEVER_RETRY.items()
    assert answer.problem["retryable"] is False


def test_row_80_a_load_that_outlasts_the_request(start_server: Start) -> None:
    server = start_server({"VISION_OCR_SECONDS": "0.5"})
    answer = send_raw(server.port, ocr_request(engine="slow-to-load"))
    check(answer, 503, "model_loading")
    assert int(answer.headers["retry-after"]) >= 1
    server.journal_path.with_name("may_load").touch()
    eventually(lambda: send_raw(server.port, ocr_request(engine="slow-to-load")).status == 200)
    assert sum(line.startswith("load slow-to-load") for line in server.journal) == 1


def test_row_81_a_model_that_does_not_load(start_server: Start) -> None:
    server = start_server()
    answer = send_raw(server.port, ocr_request(engine="broken-load"))
    check(answer, 503, "model_load_failed")
    assert int(answer.headers["retry-after"]) >= 1
    assert "FileNotFoundError" in answer.problem["detail"]
    assert "secret" not in str(answer.body)
    server.journal_path.with_name("repaired").touch()
    assert send_raw(server.port, ocr_request(engine="broken-load")).status == 200, "a changed file is tried at once"


def test_row_82_out_of_memory(survivor: LiveServer) -> None:
    answer = send_raw(survivor.port, ocr_request("out_of_memory"))
    check(answer, 503, "insufficient_memory")
    assert int(answer.headers["retry-after"]) >= 1


def test_row_83_full_queue(start_server: Start) -> None:
    server = start_server({"VISION_QUEUE_SIZE": "1"})
    running = [Asking(server.port, ocr_request("wait_for", engine="one-by-one")) for _ in range(2)]
    eventually(lambda: server.journal_has("started"))
    eventually(lambda: server.in_use("one-by-one") == 2)
    answer = send_raw(server.port, ocr_request(engine="one-by-one"))
    check(answer, 429, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1
    server.go()
    assert [asked.answer.status for asked in running] == [200, 200]


def test_row_83_the_greediest_client_gives_up_a_place(start_server: Start) -> None:
    server = start_server({"VISION_QUEUE_SIZE": "2", "VISION_API_KEYS": "greedy,polite"})
    server.client.headers["X-API-Key"] = "polite"
    greedy = [Asking(server.port, ocr_request("wait_for", engine="one-by-one", key="greedy")) for _ in range(3)]
    eventually(lambda: server.journal_has("started"))
    eventually(lambda: server.in_use("one-by-one") == 3)
    polite = Asking(server.port, ocr_request("wait_for", engine="one-by-one", key="polite"))
    eventually(lambda: any(asked.is_answered for asked in greedy))
    (refused,) = [asked.answer for asked in greedy if asked.is_answered]
    check(refused, 429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    server.go()
    assert polite.answer.status == 200
    assert sorted(asked.answer.status for asked in greedy) == [200, 200, 429]


def test_row_83_prompts_that_need_no_model_have_places_too(start_server: Start) -> None:
    server = start_server({"VISION_QUEUE_SIZE": "0"})
    server.client.post("/analyze_image", files={"file": picture_bytes()}, data={"prompt": "What size?"})
    decoders = server.children("decoders.child")
    for decoder in decoders:
        decoder.suspend()
    body = form(part(picture_bytes(size=(64, 64))), field("prompt", b"What size is it?"))
    data = request("/analyze_image", body, headers={"Content-Type": CONTENT_TYPE})
    asking = [Asking(server.port, data) for _ in range(6)]
    eventually(lambda: sum(asked.is_answered for asked in asking) == 4)
    refused = [asked.answer for asked in asking if asked.is_answered]
    for answer in refused:
        check(answer, 429, "queue_full")
    for decoder in decoders:
        decoder.resume()
    assert sorted(asked.answer.status for asked in asking) == [200, 200, 429, 429, 429, 429]
    assert "64 pixels wide" in str(next(asked.answer.body for asked in asking if asked.answer.status == 200))


@pytest.mark.parametrize("do", ["kill", "segfault"])
def test_row_84_a_worker_that_crashes(survivor: LiveServer, do: str) -> None:
    answer = send_raw(survivor.port, ocr_request(do))
    check(answer, 503, "worker_crashed")
    assert int(answer.headers["retry-after"]) >= 1
    assert send_raw(survivor.port, ocr_request(mark=5)).problem["text"] == "5"


def test_row_85_deadline(start_server: Start) -> None:
    server = start_server({"VISION_OCR_SECONDS": "1"})
    send_raw(server.port, ocr_request())
    answer = send_raw(server.port, ocr_request("hang"))
    check(answer, 504, "deadline_exceeded")
    assert answer.headers.items() >= NEVER_RETRY.items()


def test_row_86_during_shutdown(start_server: Start) -> None:
    server = start_server()
    with connect(server.port) as kept:
        kept.sendall(request("/livez", method="GET"))
        assert not read_answer(kept, "GET").is_closed
        running = Asking(server.port, ocr_request("wait_for"))
        eventually(lambda: server.journal_has("started"))
        server.process.send_signal(signal.SIGTERM)
        ask = request("/readyz", method="GET")
        eventually(lambda: send_raw(server.port, ask, method="GET").status == 503)
        ready = send_raw(server.port, ask, method="GET")
        assert (ready.problem["ready"], ready.problem["reason"]) == (False, "shutting down")
        kept.sendall(request("/version", method="GET"))
        answer = read_answer(kept, "GET")
    check(answer, 503, "shutting_down", closed=True)
    assert int(answer.headers["retry-after"]) >= 1
    server.go()
    assert running.answer.status == 200
    assert server.process.wait(PATIENCE) == 0


def test_row_87_full_disk(survivor: LiveServer) -> None:
    """A limit on the size of files stands for a disk without room; the service goes on when there is room again."""
    large = form(part(b"\x89PNG" + bytes(3_000_000)))
    data = request("/ocr", large, headers={"Content-Type": CONTENT_TYPE})
    before = resource.prlimit(survivor.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(survivor.process.pid, resource.RLIMIT_FSIZE, (600_000, before[1]))
    try:
        check(send_raw(survivor.port, data), 507, "storage_full")
    finally:
        resource.prlimit(survivor.process.pid, resource.RLIMIT_FSIZE, before)
    check(send_raw(survivor.port, data), 415, "unsupported_image_format")


def test_a_load_that_was_asked_for_is_answered_at_the_stop(start_server: Start) -> None:
    server = start_server({"VISION_DRAIN_SECONDS": "0.5"})
    loading = Asking(server.port, model_request("load", "slow-to-load"))
    eventually(lambda: server.journal_has("load slow-to-load"))
    server.process.send_signal(signal.SIGTERM)
    check(loading.answer, 503, "shutting_down", closed=True)
    assert server.process.wait(PATIENCE) == 0
