"""Rows 16-35 of docs/reliability.md: JSON bodies, on every route that takes them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.chat_requests import CHAT_ROUTES, JSON, OLLAMA, OPENAI, TALKER, chat_body
from fixtures.counts import many
from fixtures.live import LiveServer, picture_bytes
from fixtures.problems import check, check_on
from fixtures.raw_http import RawAnswer, request, send_raw

ROUTES = ["/models/load", "/models/unload", "/ocr", "/analyze_image", *CHAT_ROUTES]
PICTURE = base64.b64encode(picture_bytes()).decode()

on_every_route = pytest.mark.parametrize("route", ROUTES)


def post(server: LiveServer, route: str, body: bytes) -> RawAnswer:
    return send_raw(server.port, request(route, body, headers=JSON))


def refused(server: LiveServer, route: str, body: bytes, status: int, code: str) -> None:
    check_on(server, route, post(server, route, body), status, code)


@on_every_route
@pytest.mark.parametrize("body", [b"", b"  \r\n\t "], ids=["empty", "blank"])
def test_row_16_empty_body(survivor: LiveServer, route: str, body: bytes) -> None:
    refused(survivor, route, body, 400, "malformed_json")


@on_every_route
@pytest.mark.parametrize(
    "body", [b"{", b'{"a": 1} x', b"{'a': 1}", b'{"a": 1,}', b'{"a" 1}', b"nul", b'{"a": "\n"}', b'"']
)
def test_row_17_broken_json(survivor: LiveServer, route: str, body: bytes) -> None:
    refused(survivor, route, body, 400, "malformed_json")


@on_every_route
@pytest.mark.parametrize("body", [b'{"model": "\xff"}', b'{"model": "\xed\xa0\x80"}', "あ".encode("cp932")])
def test_row_18_invalid_utf8(survivor: LiveServer, route: str, body: bytes) -> None:
    refused(survivor, route, body, 400, "invalid_encoding")


@on_every_route
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_row_19_other_encodings(survivor: LiveServer, route: str, encoding: str) -> None:
    refused(survivor, route, '{"model": "faulty"}'.encode(encoding), 400, "invalid_encoding")


TEXT_FIELDS = {"/models/load": "model", "/models/unload": "model", "/ocr": "language", "/analyze_image": "prompt"}


def with_text(route: str, text: str) -> bytes:
    if route in CHAT_ROUTES:
        return json.dumps(chat_body(route, text)).encode()
    picture = {"image": PICTURE} if route in ("/ocr", "/analyze_image") else {}
    return json.dumps({**picture, TEXT_FIELDS[route]: text}).encode()


@on_every_route
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ude00\ud83d"])
def test_row_20_lone_surrogates(survivor: LiveServer, route: str, text: str) -> None:
    refused(survivor, route, with_text(route, text), 422, "invalid_text")


def test_row_20_a_whole_surrogate_pair_is_a_character(survivor: LiveServer) -> None:
    body = b'{"model": "faulty", "image": "%s", "\\ud83d\\ude00": 1}' % PICTURE.encode()
    assert post(survivor, "/ocr", body).status == 200


@on_every_route
@pytest.mark.parametrize("text", ["a\0b", "\x1b[31m", "\x7f", "\x08"])
def test_row_21_control_characters(survivor: LiveServer, route: str, text: str) -> None:
    refused(survivor, route, with_text(route, text), 422, "invalid_text")


def test_row_21_tabs_and_line_ends_are_fine(survivor: LiveServer) -> None:
    answer = post(survivor, "/analyze_image", with_text("/analyze_image", "How big\tis\r\nit?"))
    assert answer.status == 200


@on_every_route
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_row_22_numbers_that_are_none(survivor: LiveServer, route: str, value: str) -> None:
    refused(survivor, route, f'{{"keep_alive": {value}}}'.encode(), 400, "malformed_json")


@on_every_route
def test_row_23_number_of_5000_digits(survivor: LiveServer, route: str) -> None:
    refused(survivor, route, b'{"keep_alive": %s}' % (b"9" * 5000), 400, "malformed_json")


@on_every_route
@pytest.mark.parametrize("depth", [65, 5_000, 100_000, 1_000_000])
def test_row_24_deep_nesting(survivor: LiveServer, route: str, depth: int) -> None:
    refused(survivor, route, b"[" * depth + b"]" * depth, 400, "json_too_deep")
    refused(survivor, route, b'{"a":' * depth + b"1" + b"}" * depth, 400, "json_too_deep")


def test_row_24_64_levels_are_fine_and_brackets_in_texts_do_not_count(survivor: LiveServer) -> None:
    nested: object = 1
    for _ in range(63):
        nested = [nested]
    body = json.dumps({"image": PICTURE, "engine": "faulty", "x": nested, "y": "[" * 500 + '"['})
    assert post(survivor, "/ocr", body.encode()).status == 200


@on_every_route
def test_row_24_many_small_values(survivor: LiveServer, route: str) -> None:
    refused(survivor, route, b"[" + b"[]," * 1_000_000 + b"1]", 413, "payload_too_large")


@on_every_route
@pytest.mark.parametrize(
    "body", [b'{"model": "faulty", "model": "second"}', b'{"a": [{"b": 1, "b": 1}]}', b'{"\\u0061": 1, "a": 2}']
)
def test_row_25_duplicate_keys(survivor: LiveServer, route: str, body: bytes) -> None:
    refused(survivor, route, body, 400, "duplicate_key")


@on_every_route
@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null", b"true", b'[{"model": "faulty"}]'])
def test_row_26_no_object(survivor: LiveServer, route: str, body: bytes) -> None:
    refused(survivor, route, body, 422, "invalid_request")


LARGE = "z" * 5_000_000


@pytest.mark.parametrize("value", [LARGE, [LARGE], {"a": LARGE}], ids=["text", "list", "object"])
@pytest.mark.parametrize(
    ("route", "name"),
    [("/models/load", "keep_alive"), ("/models/load", "model"), ("/ocr", "furigana"), (OPENAI, "temperature"),
     (OPENAI, "model"), (OPENAI, "stop"), (OPENAI, "tools"), (OLLAMA, "model"), (OLLAMA, "keep_alive"),
     (OPENAI, "response_format"), (OPENAI, "tool_choice"), ("/analyze_image", "temperature")],
)  # fmt: skip
def test_row_27_a_wrong_value_is_not_echoed(survivor: LiveServer, route: str, name: str, value: object) -> None:
    body = chat_body(route, "hi") if route in CHAT_ROUTES else {"model": "faulty"}
    body |= {"image": PICTURE} if route in ("/ocr", "/analyze_image") else {}
    answer = post(survivor, route, json.dumps({**body, name: value}).encode())
    check_on(survivor, route, answer, 422, "invalid_parameter")
    assert b"zz" not in answer.body


@pytest.mark.parametrize("tag", [LARGE, "zz"])
@pytest.mark.parametrize("place", ["response_format", "content"])
def test_row_27_a_wrong_kind_is_not_echoed(survivor: LiveServer, place: str, tag: str) -> None:
    body = chat_body(OPENAI, "hi")
    if place == "response_format":
        body[place] = {"type": tag}
    else:
        body["messages"][0][place] = [{"type": tag}]
    answer = post(survivor, OPENAI, json.dumps(body).encode())
    check_on(survivor, OPENAI, answer, 422, "invalid_parameter")
    assert b"zz" not in answer.body


@pytest.mark.parametrize(("name", "value"), [("history", 1), ("history", {}), ("choices", {})])
def test_row_27_a_great_many_wrong_values_are_one_error(survivor: LiveServer, name: str, value: object) -> None:
    answer = post(
        survivor,
        "/analyze_image",
        json.dumps({"image": PICTURE, name: [value] * (190_000 if value == 1 else 60_000)}).encode(),
    )
    check_on(survivor, "/analyze_image", answer, 422, "invalid_parameter")


@on_every_route
def test_row_28_body_of_200_mb(survivor: LiveServer, route: str) -> None:
    announced = send_raw(survivor.port, request(route, headers={**JSON, "Content-Length": "200000000"}))
    check_on(survivor, route, announced, 413, "payload_too_large")
    refused(survivor, route, b'{"model": "' + b"x" * 30_000_000 + b'"}', 413, "payload_too_large")


def test_row_28_chunked_body_of_200_mb(survivor: LiveServer) -> None:
    head = {**JSON, "Transfer-Encoding": "chunked"}
    start = request("/ocr", headers=head).replace(b"Content-Length: 0\r\n", b"")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    check(send_raw(survivor.port, start, *[chunk] * 200), 413, "payload_too_large", closed=True)


def test_row_29_unknown_field(survivor: LiveServer) -> None:
    check(post(survivor, "/models/load", b'{"model": "faulty", "modle": 1}'), 422, "unknown_parameter")
    assert post(survivor, "/ocr", json.dumps({"image": PICTURE, "engine": "faulty", "x": 1}).encode()).status == 200
    for route in CHAT_ROUTES:
        assert post(survivor, route, json.dumps(chat_body(route, "hi", x=1, modle=[{}])).encode()).status == 200


@pytest.mark.parametrize("kind", ["", "text/json", "text/plain", "application/json; charset=utf-16", "image/json"])
@pytest.mark.parametrize("route", ["/models/load", "/models/unload", OPENAI])
def test_row_30_wrong_content_type(survivor: LiveServer, route: str, kind: str) -> None:
    answer = send_raw(survivor.port, request(route, b'{"model": "faulty"}', headers={"Content-Type": kind}))
    check_on(survivor, route, answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded", "text/plain"])
def test_row_30_what_curl_sends_to_ollama(survivor: LiveServer, kind: str) -> None:
    body = json.dumps(chat_body(OLLAMA, "hi")).encode()
    assert send_raw(survivor.port, request(OLLAMA, body, headers={"Content-Type": kind})).status == 200


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_row_30_right_content_type(survivor: LiveServer, kind: str) -> None:
    answer = send_raw(survivor.port, request("/models/load", b'{"model": "faulty"}', headers={"Content-Type": kind}))
    assert answer.status == 200


def test_row_31_prompt_over_the_limit_and_blank(survivor: LiveServer) -> None:
    long = json.dumps({"image": PICTURE, "prompt": "x" * 16_385}).encode()
    check(post(survivor, "/analyze_image", long), 422, "prompt_too_long")
    blank = json.dumps({"image": PICTURE, "prompt": " \n"}).encode()
    answer = post(survivor, "/analyze_image", blank)
    assert answer.status == 200
    assert json.loads(answer.body)["analysis"]


@pytest.mark.parametrize("value", [-2, -0.5, 1e9, "soon", [], {}])
def test_row_32_numbers_out_of_range(survivor: LiveServer, value: object) -> None:
    body = json.dumps({"model": "faulty", "keep_alive": value}).encode()
    check(post(survivor, "/models/load", body), 422, "invalid_parameter")


@pytest.mark.parametrize(
    "image", ["###", "====", "iVBOR\0", PICTURE[:-3], f"image/png;base64,{PICTURE[:-3]}", 5, None, [], {}]
)
def test_base64_that_is_none(survivor: LiveServer, image: object) -> None:
    answer = post(survivor, "/ocr", json.dumps({"image": image}).encode())
    assert (answer.status, answer.code) in ((422, "invalid_parameter"), (422, "file_required"), (422, "invalid_text"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(["model", "keep_alive", "image", "language", "engine", "furigana", "prompt", "other"])
CHAT_FIELDS = [
    "messages", "stream", "stream_options", "max_tokens", "temperature", "top_p", "stop", "seed", "n", "logprobs",
    "tools", "tool_choice", "response_format", "options", "format", "keep_alive",
]  # fmt: skip


def test_any_json_gets_a_declared_answer(survivor: LiveServer) -> None:
    """Promise 1 on JSON: hypothesis finds values that nobody thinks of."""
    ask: Callable[..., httpx2.Response] = survivor.client.post

    def is_declared(route: str, body: dict[str, object]) -> None:
        answer = ask(route, content=json.dumps(body).encode(), headers=JSON)
        assert answer.status_code in (200, 400, 404, 413, 415, 422), answer.text
        assert len(answer.content) <= 4096 or answer.status_code == 200

    @settings(max_examples=many(400, 100), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(ROUTES), st.dictionaries(fields, json_values, max_size=5))
    def run(route: str, body: dict[str, object]) -> None:
        is_declared(route, body)

    @settings(max_examples=many(400, 100), deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(CHAT_ROUTES), st.dictionaries(st.sampled_from(CHAT_FIELDS), json_values, max_size=3))
    def converse(route: str, body: dict[str, object]) -> None:
        is_declared(route, {**chat_body(route, "hi", TALKER), **body})

    run()
    converse()
