"""Ollama's API on the tiny trained LLaVA: right answers, lines, models in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from fixtures.encoding import saved
from fixtures.live import LiveServer
from fixtures.shapes import COLOURS, NUMBERS, held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied

SCENE, ASKED = next(iter(held_out(1, seed=61, kind="count")))
PICTURE = base64.b64encode(saved(SCENE.draw())).decode()


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("volume")
    copied(LLAVA, folder / LLAVA_ID)
    started = LiveServer(
        tmp_path_factory.mktemp("ready"), {"TRANSFORMERS_CACHE": str(folder), "LLAVA_MODEL_ID": LLAVA_ID}
    )
    yield started
    assert started.stop() == 0


def chat(server: LiveServer, text: str = ASKED.prompt, **fields: Any) -> httpx2.Response:
    told = [{"role": "user", "content": text, "images": [PICTURE]}]
    return server.client.post("/api/chat", json={"model": LLAVA_ID, "messages": told, **fields})


def lines(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_answer_is_right_and_timed(ready: LiveServer) -> None:
    body = chat(ready, stream=False).json()
    assert body["message"] == {"role": "assistant", "content": ASKED.answer}
    assert (body["done"], body["done_reason"], body["model"], body["eval_count"]) == (True, "stop", LLAVA_ID, 2)
    durations = [body[f"{name}_duration"] for name in ("total", "load", "prompt_eval", "eval")]
    assert all(duration >= 0 for duration in durations)
    assert durations[0] >= durations[2] + durations[3] - 1000


def test_lines_come_unless_they_are_not_wanted(ready: LiveServer) -> None:
    whole = chat(ready, "Describe the picture.", stream=False).json()["message"]["content"]
    *pieces, last = lines(chat(ready, "Describe the picture."))
    assert "".join(line["message"]["content"] for line in pieces) == whole
    assert len(pieces) > 3
    assert [line["done"] for line in (*pieces, last)] == [False] * len(pieces) + [True]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_answered(ready: LiveServer, stream: bool) -> None:
    body = {"model": LLAVA_ID, "prompt": ASKED.prompt, "system": "Answer briefly.", "images": [PICTURE]}
    answer = ready.client.post("/api/generate", json={**body, "stream": stream})
    told = lines(answer) if stream else [answer.json()]
    assert "".join(line["response"] for line in told) == ASKED.answer


def test_the_form_of_an_answer(ready: LiveServer) -> None:
    schema = {"type": "object", "properties": {"count": {"enum": list(NUMBERS)}}, "required": ["count"]}
    found = json.loads(chat(ready, stream=False, format=schema).json()["message"]["content"])
    assert found["count"] in NUMBERS
    asked = "Answer in JSON: how many shapes are there?"
    assert isinstance(json.loads(chat(ready, asked, stream=False, format="json").json()["message"]["content"]), dict)


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_as_their_schemas_say(ready: LiveServer, stream: bool) -> None:
    parameters = {"type": "object", "properties": {"colour": {"enum": list(COLOURS)}}, "required": ["colour"]}
    tool = {"type": "function", "function": {"name": "paint", "parameters": parameters}}
    answer = chat(ready, tools=[tool], stream=stream)
    told = lines(answer) if stream else [answer.json()]
    calls = [call for line in told for call in line["message"].get("tool_calls") or []]
    said = "".join(line["message"]["content"] for line in told)
    assert calls or said
    for call in calls:
        assert call["function"]["arguments"]["colour"] in COLOURS


def test_options_are_followed(ready: LiveServer) -> None:
    short = chat(ready, "Describe the picture.", stream=False, options={"num_predict": 2}).json()
    assert (short["done_reason"], short["eval_count"]) == ("length", 2)
    warm = {"temperature": 2, "seed": 3, "num_predict": 9}
    asked = "Describe the picture."
    same = {chat(ready, asked, stream=False, options=warm).json()["message"]["content"] for _ in range(2)}
    assert len(same) == 1


def test_curl_as_ollama_shows_it(ready: LiveServer) -> None:
    body = json.dumps({"model": f"{LLAVA_ID}:latest", "prompt": ASKED.prompt, "images": [PICTURE], "stream": False})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ready.client.post("/api/generate", content=body, headers=form).json()["response"] == ASKED.answer


def test_models_that_are_there_and_in_memory(ready: LiveServer) -> None:
    chat(ready, stream=False)
    there = {model["name"]: model for model in ready.client.get("/api/tags").json()["models"]}
    assert {LLAVA_ID, "rapidocr"} <= set(there)
    assert "manga-ocr" not in there, "its weights are missing"
    assert there[LLAVA_ID]["size"] > 5_000_000
    (loaded,) = [model for model in ready.client.get("/api/ps").json()["models"] if model["name"] == LLAVA_ID]
    assert loaded["digest"] == there[LLAVA_ID]["digest"]
    shown = ready.client.post("/api/show", json={"name": LLAVA_ID}).json()
    assert {"vision", "tools"} <= set(shown["capabilities"])


def test_keep_alive_unloads_loads_and_keeps(ready: LiveServer) -> None:
    def info() -> dict[str, Any]:
        return next(model for model in ready.client.get("/models").json()["models"] if model["id"] == LLAVA_ID)

    gone = ready.client.post("/api/chat", json={"model": LLAVA_ID, "keep_alive": 0, "stream": False}).json()
    assert (gone["done_reason"], info()["state"]) == ("unload", "not_loaded")
    there = ready.client.post("/api/generate", json={"model": LLAVA_ID, "keep_alive": "10m", "stream": False}).json()
    assert (there["done_reason"], info()["state"]) == ("load", "ready")
    assert 590 < info()["expires_in"] <= 600
    chat(ready, stream=False, keep_alive=-1)
    assert info()["expires_in"] is None
    chat(ready, stream=False, keep_alive="300ms")
    assert info()["expires_in"] is None or info()["expires_in"] <= 0.3


def test_pulling_what_is_there_is_done_at_once_and_what_is_not_ours_stays(ready: LiveServer) -> None:
    told = lines(ready.client.post("/api/pull", json={"model": LLAVA_ID}))
    assert told[-1] == {"status": "success"}
    assert ready.client.post("/api/pull", json={"model": "rapidocr", "stream": False}).json() == {"status": "success"}
    refused = ready.client.request("DELETE", "/api/delete", json={"model": LLAVA_ID})
    assert refused.status_code == 409
    assert refused.json().keys() == {"error"}


def test_errors_are_one_text(ready: LiveServer) -> None:
    for route in ("/api/chat", "/api/generate", "/api/show", "/api/pull"):
        answer = ready.client.post(route, json={"model": "llama3", "messages": []})
        assert (answer.status_code, answer.json().keys()) == (404, {"error"})
    assert ready.client.post("/api/embed", json={}).json().keys() == {"error"}
    assert ready.client.post("/api/chat", content=b"{").json().keys() == {"error"}
