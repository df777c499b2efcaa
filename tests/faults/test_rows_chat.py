"""Rows 31 to 35 of docs/reliability.md on the chat routes, and those for their pictures: what OpenAI's and Ollama's
clients are told.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from fixtures.chat_requests import CHAT_ROUTES, OLLAMA, OPENAI, Stream, chat_body, orders, post_chat, said
from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.problems import check_on
from fixtures.raw_http import RawAnswer
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied
from fixtures.waiting import eventually

on_both = pytest.mark.parametrize("route", CHAT_ROUTES)


def refused(server: LiveServer, route: str, body: dict[str, Any], status: int, code: str) -> RawAnswer:
    answer = post_chat(server.port, route, body)
    check_on(server, route, answer, status, code)
    return answer


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory, start_module_server: Start) -> LiveServer:
    """A server with the tiny LLaVA."""
    folder = tmp_path_factory.mktemp("talking")
    copied(LLAVA, folder / "volume" / LLAVA_ID)
    return start_module_server({"TRANSFORMERS_CACHE": str(folder / "volume"), "LLAVA_MODEL_ID": LLAVA_ID})


@on_both
@pytest.mark.parametrize("text", ["", " \r\n\t"], ids=["empty", "blank"])
def test_row_31_chat_neither_text_nor_picture(survivor: LiveServer, route: str, text: str) -> None:
    refused(survivor, route, chat_body(route, text), 422, "prompt_empty")
    body = chat_body(route, "hi")
    body["messages"] = [{"role": "system", "content": "be brief"}]
    refused(survivor, route, body, 422, "prompt_empty")
    earlier = chat_body(route, text)["messages"]
    refused(survivor, route, {**body, "messages": [*earlier, *chat_body(route, "hi")["messages"]]}, 422, "prompt_empty")


@on_both
def test_row_31_chat_too_long(survivor: LiveServer, route: str) -> None:
    refused(survivor, route, chat_body(route, "x" * 16_385), 422, "prompt_too_long")
    assert post_chat(survivor.port, route, chat_body(route, "x" * 16_384)).status == 200
    body = chat_body(route, "x" * 15_000)
    refused(survivor, route, {**body, "messages": body["messages"] * 9}, 422, "prompt_too_long")
    refused(survivor, route, {**body, "messages": chat_body(route, "x")["messages"] * 257}, 422, "invalid_parameter")


@on_both
def test_row_31_chat_tools_and_calls_count_as_text(survivor: LiveServer, route: str) -> None:
    tool = {"type": "function", "function": {"name": "find", "description": "ab " * 3_000_000}}
    refused(survivor, route, chat_body(route, "hi", tools=[tool]), 422, "prompt_too_long")
    arguments = {"x": "ab " * 3_000_000}
    call = {"function": {"name": "find", "arguments": json.dumps(arguments) if route == OPENAI else arguments}}
    body = chat_body(route, "hi")
    body["messages"].insert(0, {"role": "assistant", "content": "", "tool_calls": [call]})
    refused(survivor, route, body, 422, "prompt_too_long")


def test_row_31_chat_no_message(survivor: LiveServer) -> None:
    refused(survivor, OPENAI, {**chat_body(OPENAI, ""), "messages": []}, 422, "invalid_parameter")
    loads = post_chat(survivor.port, OLLAMA, {**chat_body(OLLAMA, ""), "messages": []})
    assert (loads.status, loads.problem["done_reason"]) == (200, "load"), "what Ollama's clients mean by it"


HUGE = 10**400


@pytest.mark.parametrize(
    "field",
    [{"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": 10**9}, {"max_tokens": HUGE}, {"max_tokens": "5"},
     {"max_tokens": 1.5}, {"max_completion_tokens": 0}, {"temperature": -1}, {"temperature": 2.1},
     {"temperature": HUGE}, {"temperature": True}, {"top_p": 0}, {"top_p": 1.1}, {"seed": HUGE}, {"seed": 0.5},
     {"top_logprobs": 21}, {"stream": "yes"}],
)  # fmt: skip
def test_row_32_chat_numbers_out_of_range(survivor: LiveServer, field: dict[str, Any]) -> None:
    answer = refused(survivor, OPENAI, chat_body(OPENAI, "hi") | field, 422, "invalid_parameter")
    assert answer.problem["error"]["param"] in field


@pytest.mark.parametrize(
    "options", [{"num_predict": -3}, {"num_predict": 10**9}, {"num_predict": HUGE}, {"temperature": -1},
                {"temperature": HUGE}, {"top_p": 0}, {"seed": HUGE}, {"stop": 5}, 5, []],
)  # fmt: skip
def test_row_32_chat_options_out_of_range(survivor: LiveServer, options: object) -> None:
    refused(survivor, OLLAMA, chat_body(OLLAMA, "hi", options=options), 422, "invalid_parameter")


@pytest.mark.parametrize("value", [HUGE, "5 minutes", "m", "1e999", "nan", "9" * 4000, [], {}, 1e9])
def test_row_32_chat_keep_alive_out_of_range(survivor: LiveServer, value: object) -> None:
    answer = refused(survivor, OLLAMA, chat_body(OLLAMA, "hi", keep_alive=value), 422, "invalid_parameter")
    assert b"99" not in answer.body


@pytest.mark.parametrize("value", [None, 0, -1, 5, "5m", "1h30m", "-1", "0"])
def test_row_32_chat_keep_alive_as_ollama_has_it(survivor: LiveServer, value: object) -> None:
    assert post_chat(survivor.port, OLLAMA, chat_body(OLLAMA, "hi", keep_alive=value)).status == 200


ARGUMENTS = ["", "[" * 100_000, '{"a":' * 800 + "1" + "}" * 800,
             '{"a": NaN}', '{"a": "\\ud800"}', '{"a": "\\u0000"}', "[]",
             '{"a": %s}' % ("9" * 5000)]  # fmt: skip


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_arguments_of_an_earlier_call_are_json_without_surprises(survivor: LiveServer, arguments: str) -> None:
    body = chat_body(OPENAI, "hi")
    call = {"id": "1", "function": {"name": "find", "arguments": arguments}}
    body["messages"].insert(0, {"role": "assistant", "content": None, "tool_calls": [call]})
    if arguments:
        refused(survivor, OPENAI, body, 422, "invalid_parameter")
    else:
        assert post_chat(survivor.port, OPENAI, body).status == 200


STOPS = {"many": [f"word {n}" for n in range(1000)], "long": "x" * 257, "no text": [5]}


@pytest.mark.parametrize("stop", STOPS)
def test_row_33_beyond_measure(survivor: LiveServer, stop: str) -> None:
    for n in (0, 2, 16_385, HUGE):
        refused(survivor, OPENAI, chat_body(OPENAI, "hi", n=n), 422, "invalid_parameter")
    refused(survivor, OPENAI, chat_body(OPENAI, "hi", stop=STOPS[stop]), 422, "invalid_parameter")
    refused(survivor, OLLAMA, chat_body(OLLAMA, "hi", options={"stop": STOPS[stop]}), 422, "invalid_parameter")


COSTLY = ["(a+)+$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a|a)*b", "(a*)*c", "(x{1,1000}){1,1000}", "(a{0,99}){0,99}",
          "(.*)*(.*)*(.*)*x", "a{999999999}", "(?:" * 300 + "a" + ")" * 300]  # fmt: skip
IMPOSSIBLE = ["[", "(?=x)a", "(?<!y)x", r"(a)\1", "*"]


def with_tool(route: str, schema: object) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "find", "parameters": schema}}
    most = {"max_tokens": 8, "tool_choice": "required"} if route == OPENAI else {"options": {"num_predict": 8}}
    return chat_body(route, "Count the shapes.", LLAVA_ID, tools=[tool], **most)


def with_pattern(pattern: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": {"type": "string", "pattern": pattern}}, "required": ["x"]}


@pytest.mark.parametrize("pattern", COSTLY, ids=range(len(COSTLY)))
@on_both
def test_row_34_a_costly_pattern_is_answered_or_refused_in_bounded_time(
    talking: LiveServer, route: str, pattern: str
) -> None:
    before = talking.metric("llm_vision_worker_restarts_total")
    answer = post_chat(talking.port, route, with_tool(route, with_pattern(pattern)))
    if answer.status != 200:
        check_on(talking, route, answer, 422, "invalid_tool_schema")
    assert talking.metric("llm_vision_worker_restarts_total") == before
    assert post_chat(talking.port, route, chat_body(route, "Count the shapes.", LLAVA_ID)).status == 200


@on_both
def test_row_34_joined_patterns_are_refused_and_others_go_on(talking: LiveServer, route: str) -> None:
    letters = {"allOf": [{"type": "string", "pattern": rf"\p{{L}}{{{100 - number}}}"} for number in range(22)]}
    fields = {"max_tokens": 80} if route == OPENAI else {"options": {"num_predict": 80}}
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}
    form = {"type": "json_schema", "json_schema": {"name": "numbers", "schema": numbers}}
    asked = {"response_format": form} if route == OPENAI else {"format": numbers}
    stream = Stream(
        talking.port, route, chat_body(route, "Count the shapes.", LLAVA_ID, stream=True, **fields, **asked)
    )
    said = next(pieces := stream.pieces())
    for _ in range(3):
        tool = with_tool(route, {"type": "object", "properties": {"x": letters}, "required": ["x"]})
        refused(talking, route, tool, 422, "invalid_tool_schema")
    said += "".join(pieces)
    assert stream.is_done
    assert len(said) > 60
    stream.close()


@on_both
@pytest.mark.parametrize("pattern", IMPOSSIBLE)
def test_row_34_patterns_that_cannot_be_followed(talking: LiveServer, route: str, pattern: str) -> None:
    answer = refused(talking, route, with_tool(route, with_pattern(pattern)), 422, "invalid_tool_schema")
    assert b"(?" not in answer.body


@on_both
@pytest.mark.parametrize(
    "schema", [{"type": "string"}, {"type": "nothing"}, {"$ref": "#/nowhere"}, {"$ref": "https://evil.example/s.json"},
               {"type": "object", "properties": {"x": {"not": {}}}}],
)  # fmt: skip
def test_row_34_schemas_that_are_none(talking: LiveServer, route: str, schema: object) -> None:
    refused(talking, route, with_tool(route, schema), 422, "invalid_tool_schema")


@on_both
@pytest.mark.parametrize("where", ["format", "tool"])
def test_row_34_a_schema_without_measure(talking: LiveServer, route: str, where: str) -> None:
    before = talking.metric("llm_vision_worker_restarts_total")
    schema = {"type": "object", "properties": {"x": {"const": "x" * 17_000_000}}}
    if where == "tool":
        body = with_tool(route, schema)
    elif route == OPENAI:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        body = chat_body(route, "hi", LLAVA_ID, response_format=form)
    else:
        body = chat_body(route, "hi", LLAVA_ID, format=schema)
    refused(talking, route, body, 422, "prompt_too_long" if where == "tool" else "invalid_tool_schema")
    assert talking.metric("llm_vision_worker_restarts_total") == before


@on_both
def test_row_35_a_client_that_leaves_the_stream(survivor: LiveServer, route: str) -> None:
    before = survivor.metric('llm_vision_errors_total{code="client_closed"}')
    stream = Stream(survivor.port, route, orders(route, 2000, stream=True, pause=0.01, mark=route))
    assert next(stream.pieces()) == "0 "
    request_id = stream.response.headers["x-request-id"]
    stream.close()
    eventually(lambda: survivor.journal_has(f"left {route}:"))
    (left,) = [line for line in survivor.journal if line.startswith(f"left {route}:")]
    assert int(left.split()[1].rpartition(":")[2]) < 100, "it stops, of 2000"
    eventually(lambda: survivor.in_use("talker") == 0)
    assert survivor.metric('llm_vision_errors_total{code="client_closed"}') == before + 1
    (line,) = [line for line in survivor.log.splitlines() if request_id in line and "loaded" not in line]
    assert f"POST {route} 499 " in line
    assert line.endswith("code=client_closed")


@on_both
@pytest.mark.parametrize(
    ("do", "status", "code"), [("raise", 500, "inference_failed"), ("kill", 503, "worker_crashed")]
)
def test_an_answer_that_fails_before_its_first_token_has_a_status(
    survivor: LiveServer, route: str, do: str, status: int, code: str
) -> None:
    refused(survivor, route, orders(route, 9, stream=True, do=do), status, code)


@on_both
@pytest.mark.parametrize(("do", "code"), [("raise", "inference_failed"), ("kill", "worker_crashed")])
def test_a_stream_that_breaks_off_says_so_and_is_counted(survivor: LiveServer, route: str, do: str, code: str) -> None:
    counter = f'llm_vision_errors_total{{code="{code}"}}'
    before = survivor.metric(counter)
    stream = Stream(survivor.port, route, orders(route, 9, stream=True, do=do, at=3))
    assert "".join(stream.pieces()) == "0 1 2 "
    assert stream.error
    assert not stream.is_done
    assert route == OLLAMA or stream.error["code"] == code
    assert "secret" not in str(stream.error)
    request_id = stream.response.headers["x-request-id"]
    eventually(lambda: [line for line in survivor.log.splitlines() if request_id in line and f"code={code}" in line])
    assert survivor.metric(counter) == before + 1
    stream.close()


@on_both
def test_row_79c_chat_longer_than_the_context(talking: LiveServer, route: str) -> None:
    status = 400 if route == OPENAI else 422
    for stream in (False, True):
        body = chat_body(route, "ab " * 4000, LLAVA_ID, stream=stream)
        refused(talking, route, body, status, "context_length_exceeded")
    assert said(route, post_chat(talking.port, route, chat_body(route, "Count the shapes.", LLAVA_ID)).problem)


@on_both
def test_too_many_pictures(survivor: LiveServer, route: str) -> None:
    refused(survivor, route, chat_body(route, "hi", pictures=[picture_bytes()] * 9), 422, "too_many_files")
    assert post_chat(survivor.port, route, chat_body(route, "hi", pictures=[picture_bytes()] * 8)).status == 200


@on_both
def test_too_many_pixels_together(survivor: LiveServer, route: str) -> None:
    large = picture_bytes(size=(6000, 3000))
    assert post_chat(survivor.port, route, chat_body(route, "hi", pictures=[large] * 2)).status == 200
    refused(survivor, route, chat_body(route, "hi", pictures=[large] * 3), 413, "image_too_large")


@on_both
@pytest.mark.parametrize(
    ("data", "status", "code"),
    [(b"text", 415, "unsupported_image_format"), (picture_bytes()[:-9], 422, "invalid_image"),
     (picture_bytes(size=(2, 2)), 422, "image_too_small")],
)  # fmt: skip
def test_a_bad_picture_among_good_ones(survivor: LiveServer, route: str, data: bytes, status: int, code: str) -> None:
    refused(survivor, route, chat_body(route, "hi", pictures=[picture_bytes(), data]), status, code)


def test_row_79_chat_unknown_model(survivor: LiveServer) -> None:
    for route in CHAT_ROUTES:
        for name in ("nothing", "../../etc/passwd", "x" * 256):
            refused(survivor, route, chat_body(route, "hi", name), 404, "model_not_found")
    assert json.loads(survivor.client.get("/v1/models/../../etc/passwd").text)["code"] == "not_found"
    assert survivor.client.get("/v1/models/nothing").json()["code"] == "model_not_found"
