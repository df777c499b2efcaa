"""Models of other servers, asked over a real socket: what is sent, what comes back, and every way in which it fails."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.costly_answers import COSTLY
from fixtures.fake_openai import (
    DONE,
    USAGE,
    Exchange,
    FakeOpenAI,
    breaks_off,
    chunk,
    meets,
    piece,
    refuses,
    says,
    sends,
    stalls,
    stream,
    waits,
)
from fixtures.items import PlainItem
from fixtures.live import free_port
from fixtures.scenes import draw_comic
from fixtures.waiting import PATIENCE, eventually
from llm_vision.errors import VisionError
from llm_vision.models.base import JsonObject, LoadContext
from llm_vision.models.families.upstream import model as upstream
from llm_vision.models.families.upstream.model import KEY_VARIABLE, Upstream

STRANGE = ["日本", "語😀", "\u2028", "\u0085", "a\nb\r\n", "é"]
"""Several bytes to a character, and characters that some call ends of lines."""


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as started:
        yield started


def loaded(url: str) -> Upstream:
    model = Upstream()
    model.load(LoadContext("cpu", 1, options={"url": url, "model": "tiny-vlm"}))
    return model


@pytest.fixture
def model(server: FakeOpenAI) -> Upstream:
    return loaded(server.url)


def an_item(prompt: str = "hello", pictures: int = 1, **params: object) -> PlainItem:
    images = [{"type": "image"}] * pictures
    content = [*map(dict, images), {"type": "text", "text": prompt}]
    usual = {"temperature": None, "top_p": None, "max_tokens": 64, "stop": [], "seed": None}
    return PlainItem(
        [Image.new("RGB", (16, 8), "red")] * pictures,
        {"messages": [{"role": "user", "content": content}], **usual, **params},
    )


def answer(model: Upstream, item: PlainItem) -> JsonObject:
    (found,) = model.predict([item])
    assert isinstance(found, dict), found
    return found


def error(model: Upstream, item: PlainItem) -> VisionError:
    (found,) = model.predict([item])
    assert isinstance(found, VisionError), found
    return found


def test_an_answer_comes_in_pieces_and_as_a_whole(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = sends(stream("A ", "red ", "field", logprobs=[-0.1, -0.2, -0.6], usage=USAGE))
    item = an_item()
    assert answer(model, item) == {
        "text": "A red field",
        "confidence": pytest.approx(math.exp(-0.3)),
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 31, "completion_tokens": 4},
    }
    assert item.tokens == ["A ", "red ", "field"]


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_it_does_not_matter_where_the_network_cuts(
    server: FakeOpenAI, model: Upstream, cut: int, newline: bytes
) -> None:
    words = STRANGE[: 4 * cut]  # an answer of more than a thousand single bytes is cut off
    server.plans["hello"] = sends(b": ping\n\n" + stream(*words).replace(b"\n", newline), cut)
    item = an_item()
    assert answer(model, item)["text"] == "".join(words)
    assert item.tokens == words


TOOLS = {
    "type": "tools",
    "tools": [{"name": "paint", "parameters": {"type": "object"}}, {"name": "wait", "parameters": None}],
    "choice": "auto",
    "parallel": True,
    "otherwise": {"type": "json_object"},
}


def calls(*pieces: tuple[int, str | None, str | None]) -> bytes:
    """Events with pieces of calls: which one, its name, its arguments."""
    return b"".join(
        chunk(choices=[{"index": 0, "delta": {"tool_calls": [
            {"index": index, "function": {"name": name, "arguments": arguments}}]}}])
        for index, name, arguments in pieces
    ) + piece(None, finish="tool_calls") + DONE  # fmt: skip


def test_tools_are_passed_on_and_calls_come_back(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = sends(
        calls((0, "paint", ""), (0, None, '{"colour": '), (1, "wait", None), (0, None, '"red"}'))
    )
    found = answer(model, an_item(format=TOOLS))
    assert json.loads(found["text"]) == [
        {"name": "paint", "arguments": {"colour": "red"}},
        {"name": "wait", "arguments": {}},
    ]
    assert found["finish_reason"] == "stop"
    sent = server.asked[-1].body
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["paint", "wait"]
    assert sent["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("auto", True)
    assert sent["response_format"] == {"type": "json_object"}
    answer(model, an_item("named", format={**TOOLS, "choice": "paint", "otherwise": None}))
    sent = server.asked[-1].body
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "paint"}}
    assert "response_format" not in sent


@pytest.mark.parametrize("arguments", ["{", "[]", "1", '{"x": NaN}', "[" * 100_000, '"text"'])
def test_calls_that_cannot_be_understood_are_refused(server: FakeOpenAI, model: Upstream, arguments: str) -> None:
    server.plans["hello"] = sends(calls((0, "paint", arguments)))
    assert error(model, an_item(format=TOOLS)).code == "upstream_invalid"


def test_what_the_server_does_not_tell_is_null(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = sends(piece("cut", finish="length"))  # no usage, no log-probabilities, no [DONE]
    assert answer(model, an_item()) == {"text": "cut", "confidence": None, "finish_reason": "length", "usage": None}


def test_a_confidence_is_never_above_1(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = sends(stream("sure", logprobs=[1e-6]))
    assert answer(model, an_item())["confidence"] == 1.0


def test_an_end_without_a_reason_is_an_end(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = sends(piece("all") + DONE)
    assert answer(model, an_item())["finish_reason"] == "stop"


def test_pictures_arrive_in_their_places_as_they_look(server: FakeOpenAI, model: Upstream) -> None:
    pictures = [draw_comic(1).convert("RGB"), stripes()]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "First?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A photo."}]},
        {"role": "user", "content": [{"type": "text", "text": "Second?"}, {"type": "image"}]},
    ]
    answer(model, PlainItem(pictures, {**an_item().params, "messages": messages}))
    sent = server.asked[0].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert (sent[0]["content"], sent[2]["content"]) == ("Be short.", "A photo.")
    assert (sent[1]["content"][1], sent[3]["content"][0]) == messages_texts("First?", "Second?")
    for part, picture in zip((sent[1]["content"][0], sent[3]["content"][1]), pictures, strict=True):
        difference = np.abs(np.asarray(picture_of(part), int) - np.asarray(picture, int))
        assert difference.mean() < 3


def stripes() -> Image.Image:
    """Red and blue lines of one pixel, which coarse colours would make violet."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, ::2, 0] = pixels[:, 1::2, 2] = 200
    return Image.fromarray(pixels)


def messages_texts(*texts: str) -> tuple[JsonObject, ...]:
    return tuple({"type": "text", "text": text} for text in texts)


def picture_of(part: Any) -> Image.Image:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_only_options_that_were_given_are_sent(server: FakeOpenAI, model: Upstream) -> None:
    answer(model, an_item())
    answer(model, an_item(temperature=0.0, top_p=0.5, stop=["\n"], seed=7, max_tokens=9))
    plain, full = (seen.body for seen in server.asked)
    assert plain.keys() == {"model", "messages", "stream", "stream_options", "max_tokens", "logprobs", "top_logprobs"}
    assert (plain["model"], plain["stream"], plain["stream_options"]) == ("tiny-vlm", True, {"include_usage": True})
    wanted = {"temperature": 0.0, "top_p": 0.5, "stop": ["\n"], "seed": 7, "max_tokens": 9}
    assert {name: full[name] for name in wanted} == wanted


def test_the_key_is_sent_and_leaves_the_environment(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    answer(loaded(server.url), an_item())
    monkeypatch.setenv(KEY_VARIABLE, "sesame")
    model = loaded(server.url)
    assert KEY_VARIABLE not in os.environ
    answer(model, an_item())
    without, with_key = (seen.headers for seen in server.asked)
    assert "Authorization" not in without
    assert with_key["Authorization"] == "Bearer sesame"


def test_the_environments_proxies_are_ignored(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    assert answer(loaded(server.url), an_item())["text"] == "yes"


VLLM = b'{"object":"error","message":"This model\'s maximum context length is 16 tokens. However, ...","code":400}'
VLLM_PICTURES = b'{"error":{"message":"The decoder prompt (length 9) is longer than the maximum model length of 8."}}'
LLAMA_CPP = b'{"error":{"code":500,"message":"the request exceeds the available context size."}}'
IN_STREAM = b'data: {"error":{"code":400,"message":"...","type":"exceed_context_size_error"}}\n\n'
REFUSALS = {
    "wrong key": (refuses(401, b'{"error": "sk-secret is wrong"}'), "upstream_rejected", 1),
    "key not enough": (refuses(403), "upstream_rejected", 1),
    "unknown model": (refuses(404, b'{"error": "no tiny-vlm"}'), "upstream_rejected", 1),
    "moved": (refuses(307, Location="/v1/elsewhere"), "upstream_rejected", 1),
    "no pictures": (refuses(400, b'{"error": "is not a multimodal model"}'), "upstream_rejected", 2),
    "too large for a proxy": (refuses(413), "upstream_rejected", 1),
    "nothing": (refuses(204), "upstream_rejected", 1),
    "long for vLLM": (refuses(400, VLLM), "context_length_exceeded", 1),
    "long with pictures": (refuses(400, VLLM_PICTURES), "context_length_exceeded", 1),
    "long for llama.cpp": (refuses(500, LLAMA_CPP), "context_length_exceeded", 1),
    "long, told late": (sends(IN_STREAM), "context_length_exceeded", 1),
    "full": (refuses(429, Retry_After="30"), "queue_full", 1),
    "full for a moment": (refuses(429, Retry_After="0"), "queue_full", 3),
    "failing": (refuses(500), "upstream_unavailable", 1),
    "starting": (refuses(503), "upstream_unavailable", 3),
    "starting for long": (refuses(503, Retry_After="60"), "upstream_unavailable", 1),
    "behind a broken proxy": (refuses(502), "upstream_unavailable", 3),
    "failing late": (sends(piece("a") + chunk(error={"message": "boom"})), "upstream_unavailable", 1),
    "failing late, as old vLLM": (sends(chunk(object="error", message="boom")), "upstream_unavailable", 1),
    "gone at once": (breaks_off(), "upstream_unavailable", 1),
    "gone in the answer": (breaks_off("a"), "upstream_unavailable", 1),
    "ended in the answer": (sends(piece("a")), "upstream_unavailable", 1),
    "a web page": (sends(b"<html>", content_type="text/html"), "upstream_invalid", 1),
    "no JSON": (sends(b"data: {\n\n"), "upstream_invalid", 1),
    "other JSON": (sends(b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'), "upstream_invalid", 1),
    "an array": (sends(b"data: []\n\n"), "upstream_invalid", 1),
    "no number": (
        sends(b'data: {"usage": {"prompt_tokens": NaN, "completion_tokens": 1}}\n\n'),
        "upstream_invalid",
        1,
    ),
    "endless event": (sends(b"data: " + b"x" * 3_000_000), "upstream_invalid", 1),
    "compressed": (sends(gzip.compress(stream("a")), **{"Content-Encoding": "gzip"}), "upstream_invalid", 1),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_goes_wrong_there_is_told_in_our_words(server: FakeOpenAI, model: Upstream, case: str) -> None:
    plan, code, requests = REFUSALS[case]
    server.plans["hello"] = plan
    found = error(model, an_item())
    assert found.code == code
    assert (found.retry_after is not None) == found.retryable
    assert "secret" not in found.detail
    assert "boom" not in found.detail
    assert len(server.asked) == requests


@pytest.mark.parametrize("name", [name for name in COSTLY if "for ever" in name])
def test_what_never_becomes_an_answer_is_broken_off(server: FakeOpenAI, model: Upstream, name: str) -> None:
    was_sent_whole = []

    def costs(exchange: Exchange) -> None:
        exchange.close_connection = True
        for part in COSTLY[name]():
            exchange.wfile.write(part)
        was_sent_whole.append(name)

    server.plans["hello"] = costs
    assert error(model, an_item()).code == "upstream_unavailable"
    assert not was_sent_whole
    assert answer(model, an_item("another"))["text"] == "yes"


def test_the_servers_own_retry_after_is_handed_on(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = refuses(429, Retry_After="30")
    assert error(model, an_item()).retry_after == 30


def test_a_server_that_is_not_there_is_tried_again_and_then_told(caplog: pytest.LogCaptureFixture) -> None:
    model = loaded(f"http://127.0.0.1:{free_port()}/v1")
    assert "does not answer yet" in caplog.text
    assert error(model, an_item()).code == "upstream_unavailable"


def test_loading_warns_of_a_server_that_refuses(server: FakeOpenAI, caplog: pytest.LogCaptureFixture) -> None:
    server.of_models = (401, b"{}")
    loaded(server.url)
    assert "status 401" in caplog.text


@pytest.mark.parametrize("plan", [refuses(503), refuses(502), refuses(429, Retry_After="1")])
def test_a_busy_server_is_asked_again(server: FakeOpenAI, model: Upstream, plan: Any) -> None:
    server.plans["hello"] = [plan, says("at last")]
    assert answer(model, an_item())["text"] == "at last"


def test_a_server_without_log_probabilities_is_asked_for_them_once(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = [refuses(400, b'{"error": "logprobs are not supported"}'), says("fine")]
    assert answer(model, an_item())["confidence"] is None
    assert answer(model, an_item())["text"] == "fine"
    assert ["logprobs" in seen.body for seen in server.asked] == [True, False, False]


def of(owner: str, item: PlainItem) -> PlainItem:
    item.owner = owner
    return item


def test_the_server_is_told_whose_cache_a_request_may_meet(server: FakeOpenAI, model: Upstream) -> None:
    for owner in ("one", "other", ""):
        answer(model, of(owner, an_item()))
    assert [seen.body.get("cache_salt") for seen in server.asked] == ["one", "other", None]


@pytest.mark.parametrize("unknown", [{"cache_salt"}, {"logprobs"}, {"cache_salt", "logprobs"}])
def test_a_server_is_asked_once_for_what_it_refuses(server: FakeOpenAI, model: Upstream, unknown: set[str]) -> None:
    def refuse_unknown(exchange: Exchange) -> None:
        plan = refuses(422) if server.seen[-1].body.keys() & unknown else says("fine")
        plan(exchange)

    server.plans["hello"] = refuse_unknown
    assert answer(model, of("one", an_item()))["text"] == "fine"
    tries = len(server.asked)
    for owner in ("one", ""):
        answer(model, of(owner, an_item()))
    asked = [{"cache_salt", "logprobs"} & seen.body.keys() for seen in server.asked[tries:]]
    assert asked == [{"cache_salt", "logprobs"} - unknown, {"logprobs"} - unknown]


def test_a_request_that_is_wrong_anyway_does_not_cost_the_others_their_confidence(
    server: FakeOpenAI, model: Upstream
) -> None:
    server.plans["wrong"] = refuses(400)
    server.plans["hello"] = sends(stream("a", logprobs=[-0.5]))
    error(model, an_item("wrong"))
    assert answer(model, an_item())["confidence"] == pytest.approx(math.exp(-0.5))


def test_requests_of_a_batch_run_at_the_same_time(server: FakeOpenAI, model: Upstream) -> None:
    server.plans["hello"] = meets(threading.Barrier(8))
    assert [found["text"] for found in model.predict([an_item() for _ in range(8)])] == ["together"] * 8  # type: ignore[index]


def test_a_request_fails_alone_and_answers_keep_their_order(server: FakeOpenAI, model: Upstream) -> None:
    server.plans |= {"slow": waits(0.2, says("slow")), "bad": refuses(401), "fast": says("fast")}
    lacks_picture = an_item("fast")
    lacks_picture.images = ()
    found = model.predict([an_item("slow"), an_item("bad"), lacks_picture, an_item("fast")])
    assert [type(one).__name__ for one in found] == ["dict", "UpstreamRejected", "ValueError", "dict"]
    assert (found[0]["text"], found[3]["text"]) == ("slow", "fast")  # type: ignore[index]


class ImpatientItem(PlainItem):
    """Nobody waits any more as soon as so many pieces have come."""

    patience = 1

    @property
    def cancelled(self) -> bool:  # type: ignore[override]
        return len(self.tokens) >= self.patience


def impatient(prompt: str, patience: int) -> ImpatientItem:
    usual = an_item(prompt)
    item = ImpatientItem([Image.new("RGB", (4, 4))], usual.params)
    item.patience = patience
    return item


@pytest.mark.parametrize("said", [(), ("a",)])
def test_who_leaves_closes_the_connection_to_the_server(
    server: FakeOpenAI, model: Upstream, said: tuple[str, ...]
) -> None:
    server.plans["hello"] = stalls(*said)
    assert error(model, impatient("hello", len(said))).code == "client_closed"
    eventually(lambda: server.left.is_set() or not server.asked)


def test_who_leaves_does_not_disturb_the_others(server: FakeOpenAI, model: Upstream) -> None:
    server.plans |= {"stall": stalls("a"), "slow": waits(0.3, says("slow"))}
    gone, there = model.predict([impatient("stall", 1), an_item("slow")])
    assert isinstance(gone, VisionError)
    assert there["text"] == "slow"  # type: ignore[index]


@pytest.mark.parametrize(
    ("limit", "said"), [("FIRST_SECONDS", ()), ("BETWEEN_SECONDS", ("a",)), ("FIRST_SECONDS", None)]
)
def test_a_server_that_falls_silent_is_left(
    server: FakeOpenAI, model: Upstream, monkeypatch: pytest.MonkeyPatch, limit: str, said: tuple[str, ...] | None
) -> None:
    monkeypatch.setattr(upstream, limit, 0.2)
    server.plans["hello"] = (lambda exchange: exchange.wait_until_left()) if said is None else stalls(*said)
    assert error(model, an_item()).code == "upstream_unavailable"
    assert server.left.wait(PATIENCE)


def test_a_long_answer_is_not_taken_for_silence(
    server: FakeOpenAI, model: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "FIRST_SECONDS", 3)
    monkeypatch.setattr(upstream, "BETWEEN_SECONDS", 3)

    def slowly(exchange: Any) -> None:
        exchange.begin()
        for _ in range(4):
            waits(1, lambda exchange: exchange.send(piece("a")))(exchange)
        exchange.send(DONE)
        exchange.end()

    server.plans["hello"] = slowly
    assert answer(model, an_item())["text"] == "aaaa"
