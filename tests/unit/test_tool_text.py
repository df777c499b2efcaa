"""Tools as text: what models are told of them, calls read back, and told from other answers as they come."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from llm_vision.models.tool_text import describe_tools, tool_calls
from llm_vision.services.chat.messages import JsonFormat, ToolOptions, may_become_calls, turns_for_model

TOOLS = [
    {"name": "weather", "description": 'Tells\nthe "weather".', "parameters": {"properties": {"市": {}}}},
    {"name": "stop", "description": None, "strict": True},
]  # fmt: skip


def test_every_tool_is_a_line_of_json() -> None:
    first, *lines, last = describe_tools(TOOLS).split("\n")
    assert [json.loads(line) for line in lines] == [TOOLS[0], {"name": "stop"}]
    assert "市" in lines[0]
    assert len(first + last) < 400, "bounded by its input"


@pytest.mark.parametrize(
    ("choice", "parallel", "said", "unsaid"),
    [
        ("auto", False, ["Otherwise answer in words", '"arguments": {...}'], ["list", "Answer only with a call"]),
        ("auto", True, ["Otherwise answer in words", "[{...}, {...}]"], []),
        ("required", False, ["Answer only with a call of a tool"], ["in words"]),
        ("weather", True, ['Answer only with a call of the tool "weather"'], ["in words", "list"]),
    ],
)
def test_a_model_is_told_how_to_call(choice: str, parallel: bool, said: list[str], unsaid: list[str]) -> None:
    last = describe_tools(TOOLS, choice, parallel).split("\n")[-1]
    assert all(words in last for words in said)
    assert not any(words in last for words in unsaid)


@pytest.mark.parametrize(("choice", "form", "said"), [
    ("auto", None, False), ("auto", JsonFormat(), True), ("required", JsonFormat(), False),
])  # fmt: skip
def test_a_model_is_told_that_its_words_must_be_json(choice: str, form: JsonFormat | None, said: bool) -> None:
    options = ToolOptions(tuple(TOOLS), choice, otherwise=form)
    (turn,) = turns_for_model([], options)
    assert str(turn.parts[0]).endswith("must be JSON.") == said
    assert options.response_format.otherwise == form


CALL = {"name": "weather", "arguments": {"city": "京都", "days": [1, 2.5, None]}}


@pytest.mark.parametrize("text", [json.dumps(CALL), f" {json.dumps(CALL, indent=2)}\n", f"[{json.dumps(CALL)}]"])
def test_calls_are_read_back(text: str) -> None:
    assert tool_calls(text) == [CALL]


def test_several_calls_are_read_back() -> None:
    assert tool_calls(json.dumps([CALL, {"name": "stop", "arguments": {}}])) == [
        CALL,
        {"name": "stop", "arguments": {}},
    ]


@pytest.mark.parametrize("text", [
    "", "It rains.", '"weather"', "[]", "{}", "{", json.dumps(CALL)[:-1], f"{json.dumps(CALL)} It rains.", "[1]",
    '{"name": "weather"}', '{"name": 1, "arguments": {}}', '{"name": "a", "arguments": []}', "[" * 100_000,
    '{"name": "a", "arguments": {}, "more": 1}', '{"name": "a", "arguments": {"b": NaN}}',
    f'{{"name": "a", "arguments": {{"b": {"1" * 5000}}}}}', f"[{json.dumps(CALL)}, 1]",
])  # fmt: skip
def test_other_texts_call_nothing(text: str) -> None:
    assert tool_calls(text) is None


@pytest.mark.parametrize("text", [
    json.dumps(CALL), json.dumps([CALL, CALL], indent=20), f" \n{json.dumps(CALL)}", json.dumps(CALL, sort_keys=True),
])  # fmt: skip
def test_what_becomes_calls_is_held_back_from_its_first_character_on(text: str) -> None:
    assert all(may_become_calls(text[:length]) for length in range(len(text)))


@pytest.mark.parametrize(("text", "known"), [
    ("It rains.", "I"), ('{"count": 3}', '{"c'), ("{}", "{}"), ("[1]", "[1"), ('{"names": []}', '{"names'), ("3", "3"),
    ('[[{"name": "a"', "[["),
])  # fmt: skip
def test_other_answers_are_known_at_their_first_difference(text: str, known: str) -> None:
    assert not any(may_become_calls(text[:length]) for length in range(len(known), len(text) + 1))
    assert may_become_calls(known[:-1])


def test_a_number_beyond_all_can_be_written_as_json_again() -> None:
    calls: Any = tool_calls('{"name": "a", "arguments": {"b": -1e999}}')
    assert json.loads(json.dumps(calls, allow_nan=False)) == [{"name": "a", "arguments": {"b": -sys.float_info.max}}]


def test_the_gateway_reads_tools_and_schemas_without_a_models_libraries() -> None:
    script = """
import sys, llm_vision.models.tool_text, llm_vision.models.grammar.schemas
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "numpy", "llguidance", "transformers"}))
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert answer.stdout.strip() == "[]"
