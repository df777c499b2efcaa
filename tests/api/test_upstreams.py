"""Models of other servers behind the live service: answers, keys, leaving, and servers that are not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from fixtures.fake_openai import USAGE, FakeOpenAI, refuses, sends, stalls, stream
from fixtures.live import LiveServer, Start, free_port, picture_bytes
from fixtures.raw_http import connect
from fixtures.requests import analyze_request
from fixtures.waiting import PATIENCE, eventually
from llm_vision.models.families.upstream.model import KEY_VARIABLE

KEY = "sk-sesame=1"


@pytest.fixture(scope="module")
def far() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as started:
        yield started


@pytest.fixture(scope="module")
def server(far: FakeOpenAI, start_module_server: Start) -> LiveServer:
    servers = f"far/vlm={far.url}#tiny-vlm, plain={far.url}#other, nobody=http://127.0.0.1:{free_port()}#none"
    environment = {"VISION_UPSTREAMS": servers, "VISION_UPSTREAM_KEYS": f"far/vlm={KEY}", "VISION_LOG_LEVEL": "DEBUG"}
    return start_module_server(environment)


def ask(server: LiveServer, prompt: str, model: str = "far/vlm") -> httpx2.Response:
    files = {"file": ("picture.png", picture_bytes())}
    return server.client.post("/analyze_image", files=files, data={"model": model, "prompt": prompt})


def test_the_other_server_answers_the_question_about_the_picture(server: LiveServer, far: FakeOpenAI) -> None:
    far.plans["What is it?"] = sends(stream("A ", "cat.", logprobs=[-0.1, -0.1], usage=USAGE))
    body = ask(server, "What is it?").json()
    assert (body["analysis"], body["model"], body["degraded"]) == ("A cat.", "far/vlm", False)
    assert body["confidence"] == pytest.approx(0.905, abs=0.001)
    content = far.asked[-1].body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert far.asked[-1].body["max_tokens"] == 512


def test_it_is_listed_like_every_model(server: LiveServer) -> None:
    ask(server, "hello")
    listed = {model["id"]: model for model in server.client.get("/models").json()["models"]}
    found = listed["far/vlm"]
    assert (found["tasks"], found["embedded"], found["state"]) == (["chat"], False, "ready")
    assert found["memory_bytes"] < 100 * 2**20
    assert listed["nobody"]["title"] == "none, on another server"


def test_the_key_goes_to_that_server_and_nowhere_else(server: LiveServer, far: FakeOpenAI) -> None:
    far.plans["wrong"] = refuses(401, KEY.encode())
    answers = [ask(server, "hello"), ask(server, "hello", "plain"), ask(server, "wrong"), server.client.get("/models")]
    by_model = {seen.body["model"]: seen.headers.get("Authorization") for seen in far.asked}
    assert by_model == {"tiny-vlm": f"Bearer {KEY}", "other": None}
    assert not any("sesame" in answer.text for answer in answers)
    assert "sesame" not in server.log
    workers = {child.pid: " ".join(child.cmdline()) for child in server.children("child.main")}
    assert not any("sesame" in command for command in workers.values())
    given = {command: KEY_VARIABLE in Path(f"/proc/{pid}/environ").read_text() for pid, command in workers.items()}
    assert sorted(given.values()) == [False, True]
    assert all("far/vlm" in command for command, has_key in given.items() if has_key)


def test_its_process_loads_no_model_library(server: LiveServer) -> None:
    ask(server, "hello")
    for worker in server.children("child.main"):
        libraries = Path(f"/proc/{worker.pid}/maps").read_text()
        assert "libtorch" not in libraries
        assert "onnxruntime" not in libraries


def test_who_leaves_stops_the_other_server(server: LiveServer, far: FakeOpenAI) -> None:
    far.plans["stall"] = stalls("thinking")
    ask(server, "hello")
    with connect(server.port) as sock:
        sock.sendall(analyze_request("stall", "far/vlm"))
        eventually(lambda: any("stall" in str(seen.body) for seen in far.asked))
    assert far.left.wait(PATIENCE)


def test_a_full_server_is_told_with_its_own_pause(server: LiveServer, far: FakeOpenAI) -> None:
    far.plans["full"] = refuses(429, Retry_After="17")
    found = ask(server, "full")
    assert (found.status_code, found.json()["code"], found.headers["retry-after"]) == (429, "queue_full", "17")


def test_a_server_that_is_not_there_stops_nothing_but_its_own_requests(server: LiveServer) -> None:
    assert server.client.get("/readyz").status_code == 200
    found = ask(server, "hello", "nobody")
    assert (found.status_code, found.json()["code"]) == (503, "upstream_unavailable")
    assert found.headers["retry-after"]
    assert "127.0.0.1" not in found.text
    assert server.ocr(mark=3).json()["text"] == "3"


def test_it_is_there_as_soon_as_the_server_is(start_server: Callable[..., LiveServer]) -> None:
    port = free_port()
    server = start_server({"VISION_UPSTREAMS": f"late=http://127.0.0.1:{port}#late"})
    assert ask(server, "hello", "late").status_code == 503
    with FakeOpenAI(port=port):
        assert ask(server, "hello", "late").json()["analysis"] == "yes"


def test_a_crashed_worker_starts_again_with_its_key(server: LiveServer, far: FakeOpenAI) -> None:
    ask(server, "hello")
    before = server.metric("llm_vision_worker_restarts_total")
    for worker in server.children("child.main"):
        if "far/vlm" in " ".join(worker.cmdline()):
            worker.kill()
    eventually(lambda: server.metric("llm_vision_worker_restarts_total") == before + 1)
    eventually(lambda: ask(server, "hello").status_code == 200)
    assert far.asked[-1].headers["Authorization"] == f"Bearer {KEY}"
