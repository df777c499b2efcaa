"""OpenAI's own Python client: answers that keep to a schema, and calls of tools."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from compat.asked import Asked, Shape, colours, first_shapes
from compat.by_openai import ask
from compat.live import CALLING_MODEL, MODEL

TOOL = {
    "type": "function",
    "function": {
        "name": "report_shape",
        "description": "Tell which shape comes first.",
        "parameters": Shape.model_json_schema(),
    },
}
OTHER_TOOL = {"type": "function", "function": {"name": "give_up", "parameters": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "report_shape"}}


class Colour(StrEnum):
    """What a colour can be."""

    GREEN = "green"
    YELLOW = "yellow"


class Found(BaseModel):
    """A schema with other keys and kinds than the model ever saw."""

    colour: Colour
    count: int = Field(ge=0, le=9)
    sure: bool
    tags: list[Colour] = Field(max_length=2)


def test_parse_gives_an_object_of_the_right_values(openai_client: OpenAI) -> None:
    for asked in first_shapes():
        answer = openai_client.chat.completions.parse(
            model=MODEL, messages=asked.messages, temperature=0, response_format=Shape
        )
        assert answer.choices[0].message.parsed == Shape(**asked.json)
        assert answer.choices[0].finish_reason == "stop"


def test_a_schema_binds_also_where_the_model_would_say_something_else(openai_client: OpenAI) -> None:
    for asked in colours():
        answer = openai_client.chat.completions.parse(
            model=MODEL, messages=asked.messages, temperature=0, response_format=Found, max_tokens=200
        )
        assert isinstance(answer.choices[0].message.parsed, Found)


def test_a_stream_keeps_to_a_schema(openai_client: OpenAI, first_shape: Asked) -> None:
    with openai_client.chat.completions.stream(
        model=MODEL, messages=first_shape.messages, temperature=0, response_format=Shape
    ) as stream:
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert parsed == Shape(**first_shape.json)


def test_any_json_object(openai_client: OpenAI, asked: Asked, first_shape: Asked) -> None:
    wanted = {"response_format": {"type": "json_object"}, "max_tokens": 200}
    assert json.loads(ask(openai_client, first_shape, **wanted).choices[0].message.content) == first_shape.json
    (unusual,) = ask(openai_client, asked, **wanted).choices
    assert unusual.finish_reason == "length" or isinstance(json.loads(unusual.message.content), dict)


def test_plain_text_can_be_asked_for(openai_client: OpenAI, asked: Asked) -> None:
    answer = ask(openai_client, asked, response_format={"type": "text"})
    assert answer.choices[0].message.content == asked.answer


def test_a_schema_that_is_cut_off_is_told_by_the_client(openai_client: OpenAI, first_shape: Asked) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        openai_client.chat.completions.parse(
            model=MODEL, messages=first_shape.messages, temperature=0, response_format=Shape, max_tokens=2
        )


def test_a_schema_that_is_none_is_a_typed_error(openai_client: OpenAI, asked: Asked) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "a surprise"}}}
    with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as caught:
        ask(openai_client, asked, response_format=schema)
    assert "response_format" in (caught.value.param or "")


@pytest.mark.parametrize(
    ("choice", "reasons"), [("required", {"tool_calls"}), (NAMED, {"tool_calls", "stop"})], ids=["required", "named"]
)
def test_a_tool_that_must_be_called_is_called(
    openai_client: OpenAI, first_shape: Asked, choice: Any, reasons: set[str]
) -> None:
    (answer,) = ask(openai_client, first_shape, model=CALLING_MODEL, tools=[TOOL], tool_choice=choice).choices
    (call,) = answer.message.tool_calls
    assert (call.type, call.function.name) == ("function", "report_shape")
    assert json.loads(call.function.arguments) == first_shape.json
    assert call.id
    assert answer.finish_reason in reasons


def test_the_named_one_of_several_tools_is_called(openai_client: OpenAI, asked: Asked) -> None:
    (answer,) = ask(openai_client, asked, model=CALLING_MODEL, tools=[OTHER_TOOL, TOOL], tool_choice=NAMED).choices
    assert [call.function.name for call in answer.message.tool_calls] == ["report_shape"]


def test_a_tool_may_be_called_or_not(openai_client: OpenAI, asked: Asked) -> None:
    (answer,) = ask(openai_client, asked, model=CALLING_MODEL, tools=[TOOL], tool_choice="auto").choices
    if answer.message.tool_calls:
        assert answer.finish_reason == "tool_calls"
        assert Shape.model_validate_json(answer.message.tool_calls[0].function.arguments)
    else:
        assert (answer.finish_reason, answer.message.content) == ("stop", asked.answer)


def test_no_tool_is_called_where_that_is_forbidden(openai_client: OpenAI, asked: Asked) -> None:
    (answer,) = ask(openai_client, asked, model=CALLING_MODEL, tools=[TOOL], tool_choice="none").choices
    assert (answer.message.tool_calls, answer.message.content) == (None, asked.answer)


def test_a_call_is_streamed(openai_client: OpenAI, first_shape: Asked) -> None:
    with openai_client.chat.completions.stream(
        model=CALLING_MODEL, messages=first_shape.messages, temperature=0, tools=[TOOL], tool_choice="required"
    ) as stream:
        (choice,) = stream.get_final_completion().choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "report_shape")
    assert json.loads(call.function.arguments) == first_shape.json


def test_a_tools_result_is_understood(openai_client: OpenAI, first_shape: Asked) -> None:
    (first,) = ask(openai_client, first_shape, model=CALLING_MODEL, tools=[TOOL], tool_choice="required").choices
    (call,) = first.message.tool_calls
    messages = [
        *first_shape.messages,
        first.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "noted"},
    ]
    (answer,) = ask(openai_client, first_shape, model=CALLING_MODEL, messages=messages, tools=[TOOL]).choices
    assert answer.message.content or answer.message.tool_calls


def test_the_clients_own_tool_helper_parses_arguments(openai_client: OpenAI, first_shape: Asked) -> None:
    answer = openai_client.chat.completions.parse(
        model=CALLING_MODEL,
        messages=first_shape.messages,
        temperature=0,
        tools=[openai.pydantic_function_tool(Shape)],
        tool_choice="required",
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.parsed_arguments == Shape(**first_shape.json)
