"""What another server sends is checked and bounded as a client's body is: an answer of ours, or `upstream_invalid`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from PIL import Image

from faults.fuzz_answers import fuzz
from fixtures.fake_openai import DONE, USAGE, Exchange, FakeOpenAI, chunk, piece, sends, stream
from fixtures.items import PlainItem
from llm_vision.errors import VisionError
from llm_vision.models.base import JsonObject, LoadContext
from llm_vision.models.families.upstream.model import Upstream
from llm_vision.services.chat.messages import Call, ToolOptions, read_calls

TOOLS = {
    "type": "tools",
    "tools": [{"name": "paint", "parameters": {"type": "object"}}],
    "choice": "auto",
    "parallel": True,
    "otherwise": None,
}
HUGE = 10**3999


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as started:
        yield started


@pytest.fixture(scope="module")
def model(server: FakeOpenAI) -> Upstream:
    model = Upstream()
    model.load(LoadContext("cpu", 1, options={"url": server.url, "model": "tiny-vlm"}))
    return model


def ask(model: Upstream, tools: JsonObject | None = None, max_tokens: int = 64) -> tuple[Any, list[str]]:
    """The outcome of a request, and the text that was streamed before it."""
    usual = {"temperature": None, "top_p": None, "max_tokens": max_tokens, "stop": [], "seed": None, "format": tools}
    content = [{"type": "image"}, {"type": "text", "text": "hello"}]
    item = PlainItem([Image.new("RGB", (16, 8))], {"messages": [{"role": "user", "content": content}], **usual})
    (found,) = model.predict([item])
    return found, item.tokens


def choice(**fields: object) -> bytes:
    """An event with one choice, and the end of the answer."""
    return chunk(choices=[{"index": 0, "delta": {"content": "a"}, **fields}]) + piece(None, finish="stop") + DONE


def call(name: object = "paint", arguments: object = "{}", index: object = 0) -> bytes:
    pieces = [{"index": index, "function": {"name": name, "arguments": arguments}}]
    return choice(delta={"tool_calls": pieces})


def usage(**changes: object) -> bytes:
    return piece("a", finish="stop") + chunk(choices=[], usage={**USAGE, **changes}) + DONE


def raw(text: str) -> bytes:
    return f"data: {text}\n\n".encode() + piece(None, finish="stop") + DONE


def logprobs(*values: object) -> bytes:
    return choice(logprobs={"content": [{"token": "a", "logprob": value} for value in values]})


DEEP = "[" * 100_000
WRONG: Mapping[str, bytes] = {
    "a log-probability of 100000": logprobs(100_000),
    "a log-probability that is no number": raw('{"choices":[{"logprobs":{"content":[{"logprob":NaN}]}}]}'),
    "a log-probability without end": raw('{"choices":[{"logprobs":{"content":[{"logprob":1e999}]}}]}'),
    "a log-probability as text": logprobs("x"),
    "log-probabilities as an object": choice(logprobs={"content": {}}),
    "prompt tokens of 4,000 digits": usage(prompt_tokens=HUGE),
    "answer tokens of 4,000 digits": usage(completion_tokens=HUGE),
    "tokens of 5,000 digits": raw('{"usage":{"prompt_tokens":' + "9" * 5000 + ',"completion_tokens":1}}'),
    "tokens below none": usage(completion_tokens=-1),
    "half a token": usage(completion_tokens=1.5),
    "tokens as a list": usage(prompt_tokens=[]),
    "another answer": chunk(choices=[{"index": 1, "delta": {"content": "a"}}]) + DONE,
    "two answers": chunk(choices=[{"delta": {"content": "a"}}] * 2) + DONE,
    "choices as an object": raw('{"choices":{}}'),
    "a choice that is null": raw('{"choices":[null]}'),
    "content as a list": choice(delta={"content": [{"type": "text"}]}),
    "half a character": raw('{"choices":[{"delta":{"content":"\\ud800"}}]}'),
    "a reason to end that is none": choice(finish_reason=5),
    "deep JSON": raw('{"choices":' + DEEP),
    "JSON behind JSON": raw('{"choices":[]} {}'),
    "a call in place 4,000 digits": call(index=HUGE),
    "a call in place -1": call(index=-1),
    "a call whose name is a number": call(name=5),
    "a call of a tool that was not offered": call(name="delete_everything"),
    "a call of nothing": call(name=None),
    "a call with a line end in its name": call(name="paint\r\nX: y"),
    "a call with NUL in its name": call(name="paint\0"),
    "a call whose arguments are no text": call(arguments={}),
    "a call with the same argument twice": call(arguments='{"a": 1, "a": 2}'),
    "a call with infinity": call(arguments='{"a": 1e999}'),
    "a call with a number of 5,000 digits": call(arguments='{"a": ' + "9" * 5000 + "}"),
    "a call with deep arguments": call(arguments='{"a": ' + "[" * 100 + "]" * 100 + "}"),
    "a call with a list": call(arguments="[1]"),
    "129 calls in a piece": choice(delta={"tool_calls": [{}] * 129}),
    "2.4 MB of empty calls": choice(delta={"tool_calls": [{}] * 800_000}),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_the_servers_fault(server: FakeOpenAI, model: Upstream, case: str) -> None:
    server.plans["hello"] = sends(WRONG[case])
    found, _ = ask(model, TOOLS)
    assert isinstance(found, VisionError), found
    assert (found.status, found.code, found.retryable) == (502, "upstream_invalid", False)


@pytest.mark.parametrize(
    "data", [choice(delta={"tool_calls": [{}] * 100}) * 30_000, (b"data: {}\n\n" + b"\n" * 1000) * 3000]
)
def test_many_small_things_are_not_added_up(server: FakeOpenAI, model: Upstream, data: bytes) -> None:
    server.plans["hello"] = sends(data)
    found, _ = ask(model, TOOLS)
    assert isinstance(found, VisionError)
    assert found.code == "upstream_invalid"


def test_calls_without_any_tool_are_refused(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = sends(call())
    found, _ = ask(model)
    assert isinstance(found, VisionError)
    assert found.code == "upstream_invalid"


@pytest.mark.parametrize("name", ["paint", "delete_everything", "paint\r\n"])
def test_words_that_look_like_a_call_are_one_only_of_a_tool_that_is_offered(name: str) -> None:
    """Whatever model has written them."""
    text = json.dumps({"name": name, "arguments": {"a": 1}})
    offered = ToolOptions(({"name": "paint"},), "auto")
    assert read_calls(text, offered) == ((Call("paint", {"a": 1}),) if name == "paint" else ())


def test_a_call_that_was_cut_off_is_an_answer_that_was(server: FakeOpenAI, model: Upstream) -> None:
    cut = chunk(choices=[{"delta": {"tool_calls": [{"function": {"name": "paint", "arguments": '{"a'}}]}}])
    server.plans["hello"] = sends(cut + piece(None, finish="length") + DONE)
    found, _ = ask(model, TOOLS)
    assert (found["text"], found["finish_reason"]) == ("", "length")


def test_control_characters_are_shown_as_such(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = sends(stream("\0a\x1b[2J", "\t\r\n\x7f"))
    found, streamed = ask(model)
    assert found["text"] == "\ufffda\ufffd[2J\t\r\n\ufffd"
    assert "".join(streamed) == found["text"]


def test_strange_but_harmless_answers_are_answers(server: FakeOpenAI, model: Upstream) -> None:
    first = chunk(choices=[{"delta": {"content": "a", "tool_calls": []}, "finish_reason": "x" * 100, "more": HUGE}])
    server.plans["hello"] = sends(first + b'data: {"choices": [], "choices": [], "usage": null}\n\n' + DONE)
    found, _ = ask(model)
    assert (found["text"], found["finish_reason"], found["usage"]) == ("a", "stop", None)


def test_a_server_does_not_choose_how_its_bytes_are_read(server: FakeOpenAI, model: Upstream) -> None:
    """Punycode takes a time that grows with the square of a text."""
    server.plans["hello"] = sends(stream("日本"), content_type="text/event-stream; charset=punycode")
    found, _ = ask(model)
    assert found["text"] == "日本"


ENDLESS = {
    "words": piece("word "),
    "comments": b": ping\n",
    "empty lines": b"\n",
    "a line": b"x",
    "events of nothing": b"data: {}\n\n",
    "empty pieces": piece(""),
    "fields that nobody knows": b"retry: 1\nid: 1\n",
}


@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_without_end_is_ended_at_the_size_of_so_many_tokens(
    server: FakeOpenAI, model: Upstream, what: str
) -> None:
    is_closed = threading.Event()

    def forever(exchange: Exchange) -> None:
        exchange.begin()
        try:
            while True:
                exchange.send(ENDLESS[what] * 50)  # many tiny chunks are another limit
        except OSError:
            is_closed.set()

    server.plans["hello"] = forever
    found, _ = ask(model, max_tokens=1)
    assert isinstance(found, VisionError)
    assert found.code == "upstream_invalid"
    assert is_closed.wait(60)


def test_promise_01_mutated_answers_are_answers_or_declared_errors() -> None:
    found = fuzz(200)
    assert not found.faults
    assert found.kinds["dict"] > 10
    assert found.kinds["upstream_invalid"] > 10
