"""LangChain's integrations for OpenAI and Ollama."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI

from compat.asked import Asked, Shape, colours
from compat.live import CALLING_MODEL, MODEL, Service


def by_openai(service: Service, model: str = MODEL) -> BaseChatModel:
    return ChatOpenAI(base_url=service.openai_url, api_key="unused", model=model, temperature=0)


def by_ollama(service: Service) -> BaseChatModel:
    return ChatOllama(base_url=service.url, model=MODEL, temperature=0, validate_model_on_init=True)


both = pytest.mark.parametrize("build", [by_openai, by_ollama])
Build = Callable[[Service], BaseChatModel]


def message(asked: Asked) -> HumanMessage:
    """A question in LangChain's own content blocks."""
    picture = {"type": "image", "base64": asked.base64, "mime_type": "image/png"}
    return HumanMessage(content=[{"type": "text", "text": asked.prompt}, picture])


@both
def test_questions_about_pictures_are_answered_right(service: Service, build: Build) -> None:
    chat = build(service)
    for asked in colours():
        answer = chat.invoke([message(asked)])
        assert answer.text == asked.answer
        assert answer.usage_metadata["output_tokens"] > 0


@both
def test_pictures_may_be_data_uris(service: Service, build: Build, asked: Asked) -> None:
    assert build(service).invoke([HumanMessage(content=asked.parts)]).text == asked.answer


@both
def test_a_stream_says_the_same_in_pieces(service: Service, build: Build, described: Asked) -> None:
    pieces = [piece.text for piece in build(service).stream([message(described)]) if piece.text]
    assert "".join(pieces) == described.answer
    assert len(pieces) > 2


@both
def test_a_batch_keeps_its_order(service: Service, build: Build) -> None:
    answers = build(service).batch([[message(asked)] for asked in colours()])
    assert [answer.text for answer in answers] == [asked.answer for asked in colours()]


@both
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_answers_are_objects(service: Service, build: Build, method: str, first_shape: Asked) -> None:
    structured = build(service).with_structured_output(Shape, method=method)
    assert structured.invoke([message(first_shape)]) == Shape(**first_shape.json)


def test_answers_are_objects_by_a_call_of_a_function(service: Service, first_shape: Asked) -> None:
    chat = by_openai(service, CALLING_MODEL)
    structured = chat.with_structured_output(Shape, method="function_calling")
    assert structured.invoke([message(first_shape)]) == Shape(**first_shape.json)


def test_a_tool_that_must_be_called_is_called(service: Service, first_shape: Asked) -> None:
    @tool(args_schema=Shape)
    def report(color: str, shape: str) -> str:
        """Report a shape."""
        return f"{color} {shape}"

    chat = by_openai(service, CALLING_MODEL).bind_tools([report], tool_choice="report")
    (call,) = chat.invoke([message(first_shape)]).tool_calls
    assert (call["name"], call["args"]) == ("report", first_shape.json)
