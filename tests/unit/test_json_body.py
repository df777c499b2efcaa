"""JSON bodies: what the rows of the reliability page leave open."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.counts import many
from llm_vision.errors import InvalidText, JsonTooDeep, MalformedJson, PayloadTooLarge
from llm_vision.http.bodies.json_body import MAX_TOKENS, parse_object

texts = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@settings(max_examples=many(100, 30), deadline=None)
@given(st.dictionaries(texts, values), st.booleans())
def test_good_json_comes_through_unchanged(body: dict[str, object], ascii_only: bool) -> None:
    assert parse_object(json.dumps(body, ensure_ascii=ascii_only).encode()) == body


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 2_000_000, b'"' * 150_001, b'{"a": "' + b"\\" * 3_000_001])
def test_strings_without_end_are_refused_in_linear_time(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        parse_object(body)


def test_brackets_and_commas_count_outside_texts_only() -> None:
    inside = {"a": "[{," * MAX_TOKENS}
    assert parse_object(json.dumps(inside).encode()) == inside
    with pytest.raises(PayloadTooLarge):
        parse_object(b'{"a": [' + b"1," * MAX_TOKENS + b"1]}")
    with pytest.raises(JsonTooDeep):
        parse_object(b"[" * 65)


LONG = "\u00e9" * 1_500_000


@pytest.mark.parametrize("bad", ["\\u0000", "\\b", "\\ud800", "\\udc00x", "\x7f"])
@pytest.mark.parametrize("place", ["start", "end", "key"])
def test_what_is_forbidden_is_found_wherever_it_stands(bad: str, place: str) -> None:
    text = {"start": f'{{"a": "{bad}{LONG}"}}', "end": f'{{"a": "{LONG}{bad}"}}', "key": f'{{"{bad}": 1}}'}[place]
    with pytest.raises(InvalidText):
        parse_object(text.encode())


def test_long_texts_with_escapes_come_through() -> None:
    body = {"a": LONG + '"]}\\' * 200_000, "b": "\t\n" * 100_000, "c": "\U0001f600" * 1000}
    assert parse_object(json.dumps(body).encode()) == body
