"""OpenAI's API on the tiny trained LLaVA: right answers, whole and streamed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fixtures.encoding import saved
from fixtures.live import LiveServer
from fixtures.shapes import COLOURS, NUMBERS, Question, Scene, held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID, LLAVA_NEXT_ID, copied
from fixtures.waiting import eventually

SCENE, ASKED = next(iter(held_out(1, seed=61, kind="count")))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("volume")
    copied(LLAVA, folder / LLAVA_ID)
    started = LiveServer(
        tmp_path_factory.mktemp("ready"), {"TRANSFORMERS_CACHE": str(folder), "LLAVA_MODEL_ID": LLAVA_ID}
    )
    yield started
    assert started.stop() == 0


def uri(scene: Scene) -> str:
    return "data:image/png;base64," + base64.b64encode(saved(scene.draw())).decode()


def messages(scene: Scene, text: str) -> list[dict[str, Any]]:
    picture = {"type": "image_url", "image_url": {"url": uri(scene)}}
    return [{"role": "user", "content": [{"type": "text", "text": text}, picture]}]


def post(server: LiveServer, text: str = ASKED.prompt, scene: Scene = SCENE, **fields: Any) -> httpx2.Response:
    body = {"model": LLAVA_ID, "messages": messages(scene, text), **fields}
    return server.client.post("/v1/chat/completions", json=body)


def content(answer: httpx2.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def chunks(answer: httpx2.Response) -> list[dict[str, Any]]:
    """All chunks of a streamed answer, which must end as it should."""
    *events, done, nothing = answer.text.split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_the_answer_is_right_and_counted(ready: LiveServer) -> None:
    for scene, question in held_out(6, seed=62, kind="count"):
        body = post(ready, question.prompt, scene).json()
        (choice,) = body["choices"]
        assert choice["message"] == {
            "role": "assistant", "content": question.answer, "refusal": None, "annotations": [],
        }  # fmt: skip
        assert (choice["finish_reason"], body["object"], body["model"]) == ("stop", "chat.completion", LLAVA_ID)
        assert 0.5 < choice["confidence"] <= 1
        usage = body["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_second_question_about_a_picture_is_answered_from_what_was_seen(ready: LiveServer) -> None:
    scene, question = next(iter(held_out(1, seed=63, kind="count")))
    first = post(ready, "Describe the picture.", scene).json()["usage"]
    second = post(ready, question.prompt, scene)
    assert content(second) == question.answer
    assert first["prompt_tokens_details"]["cached_tokens"] == 0
    assert second.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 16


def test_the_pieces_of_a_stream_are_the_answer(ready: LiveServer) -> None:
    whole = post(ready, "Describe the picture.").json()
    answer = post(ready, "Describe the picture.", stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = chunks(answer)
    assert told[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in told]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    assert len([piece for piece in pieces if piece]) > 3
    assert [chunk["choices"][0]["finish_reason"] for chunk in told] == [None] * (len(told) - 1) + ["stop"]
    assert len({chunk["id"] for chunk in told}) == 1
    assert not any("usage" in chunk for chunk in told)


def test_the_usage_comes_last_where_it_is_asked_for(ready: LiveServer) -> None:
    *others, last = chunks(post(ready, stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 2
    assert all(chunk["usage"] is None for chunk in others)


def test_tokens_leave_while_the_model_goes_on(ready: LiveServer) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 300}
    form = {"type": "json_schema", "json_schema": {"name": "long", "schema": schema}}
    body = {"model": LLAVA_ID, "messages": messages(SCENE, "?"), "stream": True, "max_tokens": 2000}
    with ready.client.stream("POST", "/v1/chat/completions", json={**body, "response_format": form}) as answer:
        lines = answer.iter_lines()
        while '"content":"' not in (line := next(lines)) or '"content":""' in line:
            pass
        (model,) = [one for one in ready.client.get("/models").json()["models"] if one["id"] == LLAVA_ID]
        assert model["in_use"] == 1
    eventually(lambda: all(not one["in_use"] for one in ready.client.get("/models").json()["models"]))


def test_what_was_said_before_is_part_of_the_conversation(ready: LiveServer) -> None:
    told = [
        {"role": "system", "content": "Answer briefly."},
        *messages(SCENE, "Describe the picture."),
        {"role": "assistant", "content": "Some shapes."},
        {"role": "user", "content": ASKED.prompt},
    ]
    answer = ready.client.post("/v1/chat/completions", json={"model": "auto", "messages": told})
    assert content(answer) == ASKED.answer
    assert answer.json()["model"] == LLAVA_ID


def test_how_it_ends_and_is_chosen(ready: LiveServer) -> None:
    long = post(ready, "Describe the picture.", max_completion_tokens=2).json()
    assert (long["choices"][0]["finish_reason"], long["usage"]["completion_tokens"]) == ("length", 2)
    whole = content(post(ready, "Describe the picture."))
    word = whole.split()[2]
    assert content(post(ready, "Describe the picture.", stop=word)) == whole[: whole.index(word)].rstrip()
    warm = {"temperature": 2.0, "seed": 7, "max_tokens": 12}
    assert len({content(post(ready, "Describe the picture.", **warm)) for _ in range(3)}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_told_with_their_probabilities(ready: LiveServer, stream: bool) -> None:
    answer = post(ready, logprobs=True, top_logprobs=3, stream=stream)
    choices = (
        [choice for chunk in chunks(answer) for choice in chunk["choices"]] if stream else answer.json()["choices"]
    )
    tokens = [token for choice in choices for token in (choice["logprobs"] or {"content": []})["content"]]
    assert "".join(token["token"] for token in tokens).strip() == ASKED.answer
    for token in tokens:
        assert token["logprob"] <= 0
        assert bytes(token["bytes"]).decode() == token["token"]
        best, *others = token["top_logprobs"]
        assert (best["token"], len(others)) == (token["token"], 2)


COUNTED = {"type": "object", "properties": {"count": {"enum": list(NUMBERS)}}, "required": ["count"],
           "additionalProperties": False}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_fits_its_schema(ready: LiveServer, stream: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "counted", "schema": COUNTED, "strict": True}}
    answer = post(ready, stream=stream, response_format=form)
    text = content(answer) if not stream else "".join(
        chunk["choices"][0]["delta"].get("content", "") for chunk in chunks(answer)
    )  # fmt: skip
    assert json.loads(text) in [{"count": number} for number in NUMBERS]


def test_any_object_will_do(ready: LiveServer) -> None:
    answer = post(ready, "Answer in JSON: how many shapes are there?", response_format={"type": "json_object"})
    assert isinstance(json.loads(content(answer)), dict)


PAINT = {"type": "function", "function": {"name": "paint", "description": "Paints the wall.", "parameters": {
    "type": "object", "properties": {"colour": {"enum": list(COLOURS)}}, "required": ["colour"],
    "additionalProperties": False}}}  # fmt: skip


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "paint"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is_called_as_its_schema_says(ready: LiveServer, choice: Any, stream: bool) -> None:
    answer = post(ready, tools=[PAINT], tool_choice=choice, stream=stream, parallel_tool_calls=False)
    if stream:
        told = chunks(answer)
        assert not any(chunk["choices"][0]["delta"].get("content") for chunk in told)
        (calls,) = [found for chunk in told if (found := chunk["choices"][0]["delta"].get("tool_calls"))]
        reason = told[-1]["choices"][0]["finish_reason"]
    else:
        (one,) = answer.json()["choices"]
        calls, reason = one["message"]["tool_calls"], one["finish_reason"]
        assert one["message"]["content"] is None
    (call,) = calls
    assert (call["type"], call["function"]["name"], reason) == ("function", "paint", "tool_calls")
    assert json.loads(call["function"]["arguments"])["colour"] in COLOURS


def test_with_a_tool_at_hand_it_may_also_answer(ready: LiveServer) -> None:
    answer = post(ready, tools=[PAINT], tool_choice="auto").json()["choices"][0]
    assert answer["finish_reason"] in ("stop", "tool_calls")
    assert ("tool_calls" in answer["message"]) == (answer["finish_reason"] == "tool_calls")
    never = post(ready, tools=[PAINT], tool_choice="none")
    assert content(never) == ASKED.answer


def test_what_a_tool_said_is_part_of_the_conversation(ready: LiveServer) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "paint", "arguments": '{"colour": "red"}'}}
    told = [
        *messages(SCENE, "Paint the wall."),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        {"role": "user", "content": ASKED.prompt},
    ]
    answer = ready.client.post("/v1/chat/completions", json={"model": LLAVA_ID, "messages": told, "tools": [PAINT]})
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["finish_reason"] in ("stop", "tool_calls", "length")


def test_a_reader_answers_with_the_text(ready: LiveServer) -> None:
    page = Path(__file__).parents[2] / "demo" / "pictures" / "bubble.png"
    picture = {
        "type": "image_url",
        "image_url": {"url": "data:;base64," + base64.b64encode(page.read_bytes()).decode()},
    }
    told = [{"role": "user", "content": [{"type": "text", "text": "OCR"}, picture]}]
    read = ready.client.post("/ocr", files={"file": page.read_bytes()}, data={"engine": "rapidocr"}).json()["text"]
    assert read
    body = {"model": "rapidocr", "messages": told}
    assert content(ready.client.post("/v1/chat/completions", json=body)) == read
    streamed = chunks(ready.client.post("/v1/chat/completions", json={**body, "stream": True}))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed) == read
    nothing = {"model": "rapidocr", "messages": [{"role": "user", "content": "read"}]}
    assert ready.client.post("/v1/chat/completions", json=nothing).json()["error"]["code"] == "prompt_empty"


def test_models_are_listed_and_found_by_all_their_names(ready: LiveServer) -> None:
    listed = [model["id"] for model in ready.client.get("/v1/models").json()["data"]]
    assert {LLAVA_ID, "manga-ocr", "rapidocr"} <= set(listed)
    assert "efficientnet-lite0" not in listed, "it neither talks nor reads"
    for name in (LLAVA_ID, "auto", "liuhaotian/llava-v1.5-7b"):
        assert ready.client.get(f"/v1/models/{name}").json()["id"] == LLAVA_ID


def test_errors_have_their_shape(ready: LiveServer) -> None:
    answer = post(ready, model="gpt-4o")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (404, "model_not_found", "not_found_error")
    assert answer.headers["content-type"] == "application/json"
    missing = post(ready, model=LLAVA_NEXT_ID)
    assert missing.status_code == 503
    assert int(missing.headers["retry-after"]) > 0
    no_talker = post(ready, model="efficientnet-lite0")
    assert no_talker.json()["error"]["code"] == "unsupported_task"
    streamed = post(ready, model="gpt-4o", stream=True)
    assert streamed.status_code == 404, "told before the stream begins"


def test_a_part_that_names_a_live_stream_is_understood(ready: LiveServer) -> None:
    stream = {"type": "stream", "stream": {"stream_id": "aaa"}}
    parts = [stream, {"type": "text", "text": "Can you describe the scene?"}]
    body = {"model": LLAVA_ID, "messages": [{"role": "user", "content": parts}], "min_tokens": 1, "max_tokens": 128}
    error = ready.client.post("/v1/chat/completions", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("stream_not_found", "messages[0].content[0].stream")
    del stream["stream"]
    assert ready.client.post("/v1/chat/completions", json=body).json()["error"]["code"] == "invalid_parameter"


def test_a_model_that_looks_at_one_picture_refuses_two(ready: LiveServer) -> None:
    two: Question = ASKED
    (message,) = messages(SCENE, two.prompt)
    message["content"].append(message["content"][-1])
    answer = ready.client.post("/v1/chat/completions", json={"model": LLAVA_ID, "messages": [message]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_parameter")
