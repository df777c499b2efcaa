"""The size of a JSON value is told without writing it down."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.counts import many
from llm_vision.services.chat.json_size import is_larger

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=many(100, 30), deadline=None)
@given(VALUES)
def test_what_is_written_in_few_characters_is_not_large(value: object) -> None:
    written = len(json.dumps(value, ensure_ascii=False))
    assert not is_larger(value, written + 8)


@pytest.mark.parametrize(
    "value", ["x" * 2000, ["x"] * 2000, {"k" * 2000: 1}, [[[["x" * 2000]]]], 10**2000, [None] * 2000]
)
def test_what_is_large_is_found_wherever_it_is(value: object) -> None:
    assert is_larger(value, 1000)
