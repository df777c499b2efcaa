"""Pydantic AI with its OpenAI provider."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent, BinaryContent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from compat.asked import Asked, Shape, colours
from compat.live import CALLING_MODEL, MODEL, Service


def agent(service: Service, model: str = MODEL, **options: Any) -> Agent:
    provider = OpenAIProvider(base_url=service.openai_url, api_key="unused")
    return Agent(OpenAIChatModel(model, provider=provider), model_settings={"temperature": 0}, **options)


def content(asked: Asked) -> list[str | BinaryContent]:
    return [asked.prompt, BinaryContent(asked.png, media_type="image/png")]


def test_questions_about_pictures_are_answered_right(service: Service) -> None:
    for asked in colours():
        answer = agent(service).run_sync(content(asked))
        assert answer.output == asked.answer
        assert answer.usage.output_tokens > 0


@pytest.mark.anyio
async def test_a_stream_says_the_same(service: Service, described: Asked) -> None:
    async with agent(service).run_stream(content(described)) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == described.answer
    assert len(pieces) > 2


def test_an_answer_is_an_object_of_the_right_values(service: Service, first_shape: Asked) -> None:
    answer = agent(service, output_type=NativeOutput(Shape)).run_sync(content(first_shape))
    assert answer.output == Shape(**first_shape.json)


def test_an_answer_is_an_object_by_a_call_of_a_tool(service: Service, first_shape: Asked) -> None:
    answer = agent(service, CALLING_MODEL, output_type=ToolOutput(Shape)).run_sync(content(first_shape))
    assert answer.output == Shape(**first_shape.json)
