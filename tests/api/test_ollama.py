"""Ollama's API on the tiny trained LLaVA: right answers, lines, models in memory."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from fixtures.chat_requests import OLLAMA, TALKER, Stream, orders
from fixtures.downloading import on_hub
from fixtures.encoding import saved
from fixtures.fake_hub import Hub
from fixtures.live import LiveServer, Start, free_port
from fixtures.shapes import COLOURS, NUMBERS, held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID, LLAVA_NEXT_ID, copied
from fixtures.waiting import eventually
from llm_vision.api.ollama.answer import Lines, as_chat
from llm_vision.api.shared.chat_bodies import ONE_YEAR
from llm_vision.runtime.work import Chunk, OnChunk
from llm_vision.services.chat.stream import ChatAnswer, ChatStream
from llm_vision.services.model_care.files import find_change_time, read_context_length

SCENE, ASKED = next(iter(held_out(1, seed=61, kind="count")))
PICTURE = base64.b64encode(saved(SCENE.draw())).decode()
UPSTREAM = "far"
CHANGED_AT = 1_715_000_000
SECOND = 10**9


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, start_module_server: Start) -> LiveServer:
    folder = tmp_path_factory.mktemp("volume")
    for file in copied(LLAVA, folder / LLAVA_ID).iterdir():
        os.utime(file, (CHANGED_AT, CHANGED_AT if file.name == "config.json" else CHANGED_AT - 60))
    environment = {
        "TRANSFORMERS_CACHE": str(folder),
        "LLAVA_MODEL_ID": LLAVA_ID,
        "VISION_UPSTREAMS": f"{UPSTREAM}=http://127.0.0.1:{free_port()}#none",
    }
    return start_module_server(environment)


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
    body = json.dumps({"model": "llava:7b-v1.5-q4_0", "prompt": ASKED.prompt, "images": [PICTURE], "stream": False})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ready.client.post("/api/generate", content=body, headers=form).json()["response"] == ASKED.answer


def test_models_that_are_there_and_in_memory(ready: LiveServer) -> None:
    chat(ready, stream=False)
    there = {model["name"]: model for model in ready.client.get("/api/tags").json()["models"]}
    assert {"auto", LLAVA_ID} <= set(there)
    assert not {LLAVA_NEXT_ID, "manga-ocr", "rapidocr"} & set(there), "only models that can chat and are here"
    assert there["auto"]["digest"] == there[LLAVA_ID]["digest"]
    assert there[LLAVA_ID]["size"] > 5_000_000
    everything = {model["name"]: model for model in ready.client.get("/api/tags?all=true").json()["models"]}
    assert {*there, "manga-ocr", "rapidocr"} <= set(everything)
    assert everything["manga-ocr"]["size"] == 0, "its weights are missing"
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


def test_a_heartbeat_is_answered_as_ollamas_is(ready: LiveServer) -> None:
    answer = ready.client.get("/")
    assert (answer.status_code, answer.text) == (200, "Ollama is running")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    head = ready.client.head("/")
    assert (head.status_code, head.content) == (200, b"")


def test_a_heartbeat_needs_a_key_where_others_do(start_server: Start) -> None:
    locked = start_server({"VISION_API_KEYS": "sesame"})
    for method in ("GET", "HEAD"):
        assert locked.client.request(method, "/").status_code == 401
        assert locked.client.request(method, "/", headers={"X-API-Key": "sesame"}).status_code == 200


@pytest.mark.parametrize("named", [{"model": "", "name": "rapidocr"}, {"model": "rapidocr", "name": ""}], ids=str)
def test_the_name_that_is_not_empty_counts(ready: LiveServer, named: dict[str, str]) -> None:
    assert ready.client.post("/api/show", json=named).status_code == 200
    assert ready.client.post("/api/pull", json={**named, "stream": False}).json() == {"status": "success"}
    assert "nothing of rapidocr" in ready.client.request("DELETE", "/api/delete", json=named).json()["error"]
    assert ready.client.post("/api/chat", json={**named, "stream": False}).json()["done_reason"] == "load"
    assert ready.client.post("/api/generate", json={**named, "stream": False}).json()["done_reason"] == "load"


def test_without_any_name_the_model_is_missing(ready: LiveServer) -> None:
    for named in ({}, {"model": "", "name": ""}, {"model": None, "name": None}):
        for route in ("/api/show", "/api/chat"):
            answer = ready.client.post(route, json=named)
            assert (answer.status_code, answer.json()["error"].split(":")[0]) == (422, "model")


ASK = {"model": TALKER, "messages": [{"role": "user", "content": "hi"}]}
CALLED = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": None}}]}
TOOL = {"function": {"name": "look", "description": None, "parameters": None}}


@pytest.mark.parametrize(
    "fields", [{"stream": None}, {"format": None}, {"options": None}, {"tools": None}, {"keep_alive": ""},
               {"tools": [TOOL]}, {"tools": [{**TOOL, "type": ""}]}, {"tools": [{**TOOL, "type": None}]},
               {"messages": [CALLED, *ASK["messages"]]},
               {"messages": [{"role": "user", "content": "hi", "images": None, "tool_calls": None}]}], ids=str,
)  # fmt: skip
def test_null_is_the_same_as_nothing(ready: LiveServer, fields: dict[str, Any]) -> None:
    answer = ready.client.post("/api/chat", json={**ASK, **fields})
    assert answer.status_code == 200, answer.text
    assert "".join(line["message"]["content"] for line in lines(answer)) == "0 1 2 3 4 "


def test_null_is_the_same_as_no_prompt_and_no_messages(ready: LiveServer) -> None:
    for route, fields in (("chat", {"messages": None}), ("generate", {"prompt": None, "system": None, "images": None})):
        answer = ready.client.post(f"/api/{route}", json={"model": TALKER, "stream": None, **fields})
        assert answer.status_code == 200, answer.text
        assert lines(answer)[-1]["done_reason"] == "load"
    asked = {"model": TALKER, "prompt": "hi", "system": None, "images": None, "format": None, "options": None}
    assert lines(ready.client.post("/api/generate", json=asked))[-1]["done_reason"] == "stop"
    assert lines(ready.client.post("/api/pull", json={"model": "rapidocr", "stream": None}))[-1]["status"] == "success"


@pytest.mark.parametrize("stream", [False, True])
def test_reading_the_prompt_and_saying_the_answer_are_timed_apart(ready: LiveServer, stream: bool) -> None:
    answer = chat(ready, "Describe the picture.", stream=stream)
    last = lines(answer)[-1] if stream else answer.json()
    assert last["prompt_eval_duration"] > 0
    assert last["eval_duration"] > last["eval_count"] * 10_000, "nanoseconds"


@pytest.mark.parametrize("stream", [False, True])
def test_saying_takes_as_long_as_the_words_do(ready: LiveServer, stream: bool) -> None:
    answer = ready.client.post(OLLAMA, json=orders(OLLAMA, 5, stream=stream, pause=0.1))
    last = lines(answer)[-1] if stream else answer.json()
    assert 0.35 * SECOND < last["eval_duration"] <= last["total_duration"]


async def test_a_client_that_reads_slowly_makes_no_duration_longer() -> None:
    async def make(on_chunk: OnChunk) -> ChatAnswer:
        await asyncio.sleep(1)
        on_chunk(Chunk("a"))
        on_chunk(Chunk("b"))
        return ChatAnswer("model", "ab", "stop", None, run_seconds=1)

    told = Lines("model", as_chat)
    stream = await ChatStream(make, may_call=False).begin()
    *_, last = [json.loads(line) async for line in slowly(told.events(stream))]
    assert last["eval_duration"] < 0.5 * SECOND
    assert last["prompt_eval_duration"] > 0.5 * SECOND
    assert last["load_duration"] < 0.5 * SECOND


async def slowly(events: AsyncIterator[str]) -> AsyncIterator[str]:
    async for event in events:
        await asyncio.sleep(0.6)
        yield event


@pytest.mark.parametrize("stream", [False, True])
def test_the_end_of_an_answer_tells_the_confidence(ready: LiveServer, stream: bool) -> None:
    asked = {"model": LLAVA_ID, "prompt": ASKED.prompt, "images": [PICTURE], "stream": stream}
    for answer in (chat(ready, stream=stream), ready.client.post("/api/generate", json=asked)):
        *earlier, last = lines(answer) if stream else [answer.json()]
        assert 0.5 < last["confidence"] <= 1
        assert last["confidence"] == round(last["confidence"], 4)
        assert not any("confidence" in line for line in earlier)


def test_a_confidence_that_is_not_known_is_null(ready: LiveServer) -> None:
    blank = base64.b64encode(saved(Image.new("RGB", (64, 64), "white"))).decode()
    asked = {"model": "rapidocr", "prompt": "Read.", "images": [blank], "stream": False}
    assert ready.client.post("/api/generate", json=asked).json()["confidence"] is None


def expires_in(server: LiveServer, model_id: str) -> float:
    """Seconds, as /api/ps has it."""
    (found,) = [model for model in server.client.get("/api/ps").json()["models"] if model["name"] == model_id]
    return (datetime.fromisoformat(found["expires_at"]) - datetime.now(UTC)).total_seconds()


def test_a_model_in_use_will_stay_for_its_keep_alive(ready: LiveServer) -> None:
    ready.client.post("/api/chat", json={"model": TALKER, "keep_alive": "10m"})
    stream = Stream(ready.port, OLLAMA, orders(OLLAMA, 2000, stream=True, pause=0.01))
    assert next(stream.pieces()) == "0 "
    assert ready.in_use(TALKER) == 1
    assert 590 < expires_in(ready, TALKER) <= 600
    stream.close()
    eventually(lambda: ready.in_use(TALKER) == 0)
    ready.client.post("/api/chat", json={**ASK, "keep_alive": -1})
    assert expires_in(ready, TALKER) > 20 * ONE_YEAR, "the command line calls it for ever then"
    ready.client.post("/api/chat", json={**ASK, "keep_alive": "5m"})
    assert expires_in(ready, TALKER) <= 300


@pytest.mark.parametrize("route", ["chat", "generate"])
def test_models_that_only_read_stay_as_long_as_they_are_told(ready: LiveServer, route: str) -> None:
    asked = {"messages": [{"role": "user", "content": "Read.", "images": [PICTURE]}]}
    asked = asked if route == "chat" else {"prompt": "Read.", "images": [PICTURE]}
    for keep_alive, least, most in (("20m", 1190, 1200), ("10m", 590, 600)):
        answer = ready.client.post(f"/api/{route}", json={"model": "rapidocr", **asked, "keep_alive": keep_alive})
        assert answer.status_code == 200
        assert least < expires_in(ready, "rapidocr") <= most


def test_what_has_changed_when(ready: LiveServer) -> None:
    chat(ready, stream=False)
    there = {model["name"]: model for model in ready.client.get("/api/tags").json()["models"]}
    for model_id, found in there.items():
        shown = ready.client.post("/api/show", json={"model": model_id}).json()
        assert shown["modified_at"] == found["modified_at"]
        assert datetime(2020, 1, 1, tzinfo=UTC) < datetime.fromisoformat(found["modified_at"]) <= datetime.now(UTC)
    assert datetime.fromisoformat(there[LLAVA_ID]["modified_at"]).timestamp() == CHANGED_AT


def test_the_length_of_the_context_where_it_is_known(ready: LiveServer) -> None:
    chat(ready, stream=False)
    loaded = {model["name"]: model for model in ready.client.get("/api/ps").json()["models"]}
    assert loaded[LLAVA_ID]["context_length"] == 4096
    info = ready.client.post("/api/show", json={"model": LLAVA_ID}).json()["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] == 4096
    ready.client.post("/api/generate", json={"model": "rapidocr"})
    (reader,) = [model for model in ready.client.get("/api/ps").json()["models"] if model["name"] == "rapidocr"]
    assert "context_length" not in reader
    for model_id in ("rapidocr", UPSTREAM):
        info = ready.client.post("/api/show", json={"model": model_id}).json()["model_info"]
        assert not [key for key in info if key.endswith(".context_length")]


@pytest.mark.parametrize(
    "config", ["", "{", "[]", '{"text_config": 5}', '{"text_config": {"max_position_embeddings": "many"}}',
               '{"max_position_embeddings": -1}', '{"max_position_embeddings": true}', "[" * 100_000, "\udcff"],
    ids=range(9),
)  # fmt: skip
def test_a_config_that_is_none_tells_no_length(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_bytes(config.encode("utf-8", "surrogateescape"))
    assert read_context_length(tmp_path.iterdir()) is None


def test_a_config_without_a_part_for_the_text_tells_its_own_length(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}')
    assert read_context_length(tmp_path.iterdir()) == 2048


def test_files_that_are_not_there_have_not_changed(tmp_path: Path) -> None:
    assert find_change_time([tmp_path, tmp_path / "gone"]) is None


def test_capabilities_are_those_that_there_are(ready: LiveServer) -> None:
    def of(model_id: str) -> set[str]:
        return set(ready.client.post("/api/show", json={"model": model_id}).json()["capabilities"])

    assert of(LLAVA_ID) == {"completion", "vision", "tools"}
    assert of("rapidocr") == of(UPSTREAM) == {"completion", "vision"}


@pytest.mark.parametrize(("hub_says", "words"), [(401, "HF_TOKEN"), (500, "answers 500")])
def test_a_whole_answer_of_a_download_that_fails_has_a_status(
    start_server: Start, hub: Hub, volume: Path, hub_says: int, words: str
) -> None:
    hub.status = hub_says
    server = start_server(on_hub(hub, volume))
    for _ in range(2):
        failed = server.client.post("/api/pull", json={"model": "manga-ocr", "stream": False})
        assert failed.status_code == 503
        assert words in failed.json()["error"]
        assert int(failed.headers["retry-after"]) > 0
    eventually(lambda: "POST /api/pull 503" in server.log and "code=model_load_failed" in server.log)
    assert words in lines(server.client.post("/api/pull", json={"model": "manga-ocr"}))[-1]["error"]
    hub.status = 200
    pulled = server.client.post("/api/pull", json={"model": "manga-ocr", "stream": False})
    assert (pulled.status_code, pulled.json()) == (200, {"status": "success"})
