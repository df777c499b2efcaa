"""OpenAI's API on the tiny trained LLaVA: right answers, whole and streamed."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fixtures.encoding import saved
from fixtures.live import LiveServer, Start
from fixtures.shapes import COLOURS, NUMBERS, Scene, held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID, LLAVA_NEXT_ID, copied
from fixtures.waiting import eventually

SCENE, ASKED = next(iter(held_out(1, seed=61, kind="count")))


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, start_module_server: Start) -> LiveServer:
    folder = tmp_path_factory.mktemp("volume")
    copied(LLAVA, folder / LLAVA_ID)
    return start_module_server({"TRANSFORMERS_CACHE": str(folder), "LLAVA_MODEL_ID": LLAVA_ID})


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


def counted_tokens(server: LiveServer) -> tuple[int, int]:
    kinds = ("prompt", "generated")
    prompt, generated = (
        server.metric(f'llm_vision_tokens_total{{kind="{kind}",model="{LLAVA_ID}"}}') for kind in kinds
    )
    return int(prompt), int(generated)


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


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_counted_in_the_metrics(ready: LiveServer, stream: bool) -> None:
    scene, question = next(iter(held_out(1, seed=68, kind="count")))
    usage = post(ready, question.prompt, scene).json()["usage"]
    before = counted_tokens(ready)
    post(ready, question.prompt, scene, stream=stream)
    prompt, generated = (after - earlier for after, earlier in zip(counted_tokens(ready), before, strict=True))
    assert (prompt, generated) == (usage["prompt_tokens"], usage["completion_tokens"])


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


TOTAL = {"type": "object", "properties": {"total": {"enum": list(NUMBERS)}}, "required": ["total"],
         "additionalProperties": False}  # fmt: skip
FORM = {"type": "json_schema", "json_schema": {"name": "total", "schema": TOTAL}}
TOTALS = [{"total": number} for number in NUMBERS]


@pytest.mark.parametrize("stream", [False, True])
def test_with_tools_and_a_form_an_answer_is_calls_or_has_the_form(ready: LiveServer, stream: bool) -> None:
    wanted = {"tools": [PAINT], "response_format": FORM, "temperature": 2.0, "stream": stream, "logprobs": True}
    seen: set[str] = set()
    for seed in range(9):
        text, calls, reason = told_by(post(ready, **wanted, seed=seed), stream=stream)
        assert bool(calls) == (reason == "tool_calls") == (not text)
        assert all(json.loads(call["function"]["arguments"])["colour"] in COLOURS for call in calls)
        assert calls or json.loads(text) in TOTALS
        seen.add(reason)
        if len(seen) > 1:
            break
    assert seen == {"tool_calls", "stop"}


def test_any_object_that_is_no_call_will_do_beside_tools(ready: LiveServer) -> None:
    answer = post(ready, tools=[PAINT], response_format={"type": "json_object"})
    text, calls, reason = told_by(answer, stream=False)
    assert calls or reason == "length" or isinstance(json.loads(text), dict)


def told_by(answer: httpx2.Response, *, stream: bool) -> tuple[str, list[dict[str, Any]], str]:
    """The text, the calls and how it ended."""
    if not stream:
        (one,) = answer.json()["choices"]
        return one["message"]["content"] or "", one["message"].get("tool_calls", []), one["finish_reason"]
    choices = [chunk["choices"][0] for chunk in chunks(answer)]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    tokens = [token["token"] for choice in choices for token in (choice["logprobs"] or {"content": []})["content"]]
    assert "".join(tokens).strip() == text.strip(), "its probabilities come with what was held back"
    calls = [call for choice in choices for call in choice["delta"].get("tool_calls", [])]
    return text, calls, choices[-1]["finish_reason"]


@pytest.mark.parametrize(("choice", "reason"), [("required", "tool_calls"), ("none", "stop")])
def test_the_choice_of_tools_decides_whether_a_form_counts(ready: LiveServer, choice: str, reason: str) -> None:
    (one,) = post(ready, tools=[PAINT], tool_choice=choice, response_format=FORM).json()["choices"]
    assert one["finish_reason"] == reason
    if choice == "none":
        assert json.loads(one["message"]["content"]) in TOTALS


def test_the_json_of_a_form_leaves_in_pieces_though_it_might_have_been_a_call(ready: LiveServer) -> None:
    schema = {"type": "object", "properties": {"count": {"enum": [[1, 2, 3, 4, 5, 6]]}}, "required": ["count"]}
    form = {"type": "json_schema", "json_schema": {"name": "counted", "schema": schema}}
    told = chunks(post(ready, tools=[PAINT], response_format=form, stream=True))
    pieces = [piece for chunk in told if (piece := chunk["choices"][0]["delta"].get("content"))]
    assert json.loads("".join(pieces)) == {"count": [1, 2, 3, 4, 5, 6]}
    assert len(pieces) > 5


def test_ollamas_format_counts_beside_tools(ready: LiveServer) -> None:
    told = [{"role": "user", "content": ASKED.prompt, "images": [uri(SCENE).partition(",")[2]]}]
    body = {"model": LLAVA_ID, "messages": told, "tools": [PAINT], "format": COUNTED, "stream": False}
    message = ready.client.post("/api/chat", json=body).json()["message"]
    assert message.get("tool_calls") or json.loads(message["content"]) in [{"count": number} for number in NUMBERS]


def test_a_form_that_only_looks_like_a_call_is_refused_beside_tools(ready: LiveServer) -> None:
    looks = {"properties": {"name": {"type": "string"}, "arguments": {"type": "object"}}}
    schema = {"type": "object", **looks, "required": ["name", "arguments"]}
    form = {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}}
    error = post(ready, tools=[PAINT], response_format=form).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_parameter", "response_format")


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
    assert listed[:2] == ["auto", LLAVA_ID]
    assert not {LLAVA_NEXT_ID, "manga-ocr", "rapidocr"} & set(listed), "only models that can chat and are here"
    everything = [model["id"] for model in ready.client.get("/v1/models?all=true").json()["data"]]
    assert {*listed, LLAVA_NEXT_ID, "manga-ocr", "rapidocr"} <= set(everything)
    assert "efficientnet-lite0" not in everything, "it neither talks nor reads"
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


def test_a_second_picture_joins_the_conversation(ready: LiveServer) -> None:
    (message,) = messages(SCENE, ASKED.prompt)
    once = ready.client.post("/v1/chat/completions", json={"model": LLAVA_ID, "messages": [message]}).json()
    message["content"].append(message["content"][-1])
    twice = ready.client.post("/v1/chat/completions", json={"model": LLAVA_ID, "messages": [message]}).json()
    seen = twice["usage"]["prompt_tokens"] - once["usage"]["prompt_tokens"]
    assert seen >= 16, "both are looked at"
    assert twice["choices"][0]["message"]["content"]


@pytest.mark.parametrize(("count", "code"), [(8, None), (9, "too_many_files")])
def test_more_pictures_than_may_be_are_refused(ready: LiveServer, count: int, code: str | None) -> None:
    (message,) = messages(SCENE, ASKED.prompt)
    message["content"] += message["content"][-1:] * (count - 1)
    answer = ready.client.post("/v1/chat/completions", json={"model": LLAVA_ID, "messages": [message]})
    assert answer.json().get("code") == code, answer.text


def test_a_stop_text_never_cuts_an_answer_that_has_a_form(ready: LiveServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "counted", "schema": COUNTED}}
    answer = post(ready, stop=["}", '"', ":"], response_format=form)
    assert json.loads(content(answer)) in [{"count": number} for number in NUMBERS]
    beside = post(ready, stop=["}", '"', ":"], response_format=form, tools=[PAINT]).json()["choices"][0]
    assert beside["finish_reason"] == "tool_calls" or json.loads(beside["message"]["content"])["count"] in NUMBERS
    called = post(ready, stop=["}", '"', ":"], tools=[PAINT], tool_choice="required").json()["choices"][0]
    assert called["message"]["tool_calls"][0]["function"]["name"] == "paint"


def test_the_last_chunk_tells_the_confidence(ready: LiveServer) -> None:
    whole = post(ready).json()["choices"][0]["confidence"]
    told = chunks(post(ready, stream=True))
    assert told[-1]["choices"][0]["confidence"] == pytest.approx(whole, abs=1e-6)
    assert not any("confidence" in chunk["choices"][0] for chunk in told[:-1])


def test_what_openai_allows_is_taken(ready: LiveServer) -> None:
    url = uri(SCENE)
    told = [
        {"role": "system", "name": "boss", "content": None},
        {"role": "user", "content": [{"type": "image_url", "image_url": url}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "tool_calls": [
            {"id": None, "type": "function", "function": {"name": "paint", "arguments": "{}"}}]},
        {"role": "function", "name": "paint", "content": "done"},
        {"role": "user", "content": ASKED.prompt},
    ]  # fmt: skip
    nothing = dict.fromkeys(("stop", "seed", "tools", "tool_choice", "response_format", "max_tokens", "top_p"))
    body = {"model": LLAVA_ID, "messages": told, "stream_options": {"include_usage": None}, **nothing}
    answer = ready.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    form = {"type": "json_schema", "json_schema": {"name": "any"}}
    any_object = post(ready, response_format={"type": "json_object"}, max_tokens=20)
    assert content(post(ready, response_format=form, max_tokens=20)) == content(any_object)


def test_only_the_allowed_tools_are_called(ready: LiveServer) -> None:
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    wash = {"type": "function", "function": {"name": "wash", "parameters": nothing}}
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [wash]}}
    for _ in range(3):
        answer = post(ready, tools=[PAINT, wash], tool_choice=some, temperature=2.0).json()["choices"][0]
        assert {call["function"]["name"] for call in answer["message"]["tool_calls"]} == {"wash"}
    some["allowed_tools"]["tools"][0] = {"type": "function", "function": {"name": "unknown"}}  # type: ignore[index]
    assert post(ready, tools=[PAINT, wash], tool_choice=some).json()["code"] == "invalid_parameter"
