"""OpenAI's own Python client: models, answers, streams and typed errors."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import openai
import pytest
from openai import OpenAI

from compat.asked import Asked, colours
from compat.by_openai import ask
from compat.live import MODEL, Service


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def test_models_are_listed(openai_client: OpenAI) -> None:
    listed = {model.id: model for model in openai_client.models.list()}
    assert listed[MODEL].object == "model"
    assert isinstance(listed[MODEL].created, int)
    assert listed[MODEL].owned_by


def test_a_model_is_found_by_an_id_with_a_slash(openai_client: OpenAI) -> None:
    assert openai_client.models.retrieve(MODEL).id == MODEL


def test_no_other_model_is_found(openai_client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.models.retrieve("nobody/nothing")
    assert caught.value.code == "model_not_found"


def test_questions_about_pictures_are_answered_right(openai_client: OpenAI) -> None:
    for asked in colours():
        answer = ask(openai_client, asked)
        (choice,) = answer.choices
        assert (choice.message.content, choice.message.role) == (asked.answer, "assistant")
        assert (choice.finish_reason, choice.index) == ("stop", 0)
        assert (answer.model, answer.object) == (MODEL, "chat.completion")
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        assert answer.id.startswith("chatcmpl-")


def test_a_question_may_be_behind_its_picture(openai_client: OpenAI, asked: Asked) -> None:
    messages = [{"role": "user", "content": asked.parts[::-1]}]
    assert ask(openai_client, asked, messages=messages).choices[0].message.content == asked.answer


def test_text_alone_and_all_roles_are_understood(openai_client: OpenAI, asked: Asked) -> None:
    messages = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "developer", "content": [{"type": "text", "text": "Be exact."}]},
        {"role": "user", "content": "How many shapes are there?"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "Count the shapes."},
    ]
    assert isinstance(ask(openai_client, asked, messages=messages).choices[0].message.content, str)


def test_many_ask_at_once(service: Service) -> None:
    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=service.openai_url, api_key="unused") as client:
            calls = [
                client.chat.completions.create(model=MODEL, messages=asked.messages, temperature=0)
                for asked in colours()
            ]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

    assert asyncio.run(ask_all()) == [asked.answer for asked in colours()]


def test_a_stream_says_the_same_in_pieces(openai_client: OpenAI, described: Asked) -> None:
    chunks = list(ask(openai_client, described, stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(pieces) == described.answer
    assert len(pieces) > 2
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {(chunk.id, chunk.model, chunk.object) for chunk in chunks} == {
        (chunks[0].id, MODEL, "chat.completion.chunk")
    }
    assert not any(chunk.usage for chunk in chunks)


def test_a_stream_ends_with_the_usage_that_was_asked_for(openai_client: OpenAI, described: Asked) -> None:
    *chunks, last = ask(openai_client, described, stream=True, stream_options={"include_usage": True})
    assert (last.choices, last.usage) == ([], ask(openai_client, described).usage)
    assert not any(chunk.usage for chunk in chunks)


def test_the_clients_own_stream_helper_puts_the_answer_together(openai_client: OpenAI, described: Asked) -> None:
    with openai_client.chat.completions.stream(model=MODEL, messages=described.messages, temperature=0) as stream:
        done = [event.content for event in stream if event.type == "content.done"]
        assert stream.get_final_completion().choices[0].message.content == described.answer
    assert done == [described.answer]


def test_a_stream_that_is_left_disturbs_nobody(openai_client: OpenAI, asked: Asked, described: Asked) -> None:
    with ask(openai_client, described, stream=True) as stream:
        next(iter(stream))
    assert ask(openai_client, asked).choices[0].message.content == asked.answer


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_the_most_tokens(openai_client: OpenAI, described: Asked, name: str) -> None:
    answer = ask(openai_client, described, **{name: 2})
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)
    assert described.answer.startswith(answer.choices[0].message.content)


@pytest.mark.parametrize("stop", [" and", ["?", " and"]])
def test_an_answer_ends_before_a_stop_text(openai_client: OpenAI, described: Asked, stop: object) -> None:
    (choice,) = ask(openai_client, described, stop=stop).choices
    assert (choice.message.content, choice.finish_reason) == (described.answer.partition(" and")[0], "stop")


def test_the_same_seed_gives_the_same_answer(openai_client: OpenAI, described: Asked) -> None:
    answers = {
        ask(openai_client, described, temperature=2, seed=7, max_tokens=8).choices[0].message.content for _ in range(3)
    }
    assert len(answers) == 1


def test_each_token_comes_with_its_probability(openai_client: OpenAI, described: Asked) -> None:
    tokens = ask(openai_client, described, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    spelled = b"".join(bytes(token.bytes) for token in tokens if token.bytes)
    assert spelled.decode().strip() == described.answer
    for token in tokens:
        assert token.logprob <= 0
        best, second = token.top_logprobs
        assert (best.token, best.logprob) == (token.token, token.logprob), "the greedy choice is the best one"
        assert second.logprob <= best.logprob


def test_probabilities_are_streamed_too(openai_client: OpenAI, asked: Asked) -> None:
    chunks = list(ask(openai_client, asked, stream=True, logprobs=True))
    told = [token for chunk in chunks if (known := chunk.choices[0].logprobs) for token in known.content]
    assert told
    assert all(token.logprob <= 0 and token.top_logprobs == [] for token in told)


def test_an_answer_has_an_id_that_the_log_has_too(openai_client: OpenAI, service: Service, asked: Asked) -> None:
    answer = ask(openai_client, asked)
    assert answer._request_id
    ends = time.monotonic() + 60
    while answer._request_id not in service.log_path.read_text():  # it is logged once the answer is out
        assert time.monotonic() < ends
        time.sleep(0.01)
    named = ask(openai_client, asked, extra_headers={"x-request-id": "compat-7"})
    assert named._request_id == "compat-7"


def test_what_we_do_not_know_is_ignored(openai_client: OpenAI, asked: Asked) -> None:
    fields = {"user": "somebody", "store": False, "metadata": {"a": "b"}, "extra_body": {"repetition_penalty": 1.0}}
    assert ask(openai_client, asked, **fields).choices[0].message.content == asked.answer


def test_an_unknown_model_is_a_typed_error(openai_client: OpenAI, asked: Asked) -> None:
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(openai_client, asked, model="gpt-4o", stream=stream)
        assert caught.value.code == "model_not_found"
        assert caught.value.type
        assert caught.value.request_id


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"logprobs": True, "top_logprobs": 99}, "top_logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"tools": [tool("bad name")]}, "tools"),
        (
            {"tools": [tool("there")], "tool_choice": {"type": "function", "function": {"name": "missing"}}},
            "tool_choice",
        ),
    ],
)
def test_a_wrong_parameter_is_a_typed_error_that_names_it(
    openai_client: OpenAI, asked: Asked, params: dict[str, Any], param: str
) -> None:
    with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as caught:
        ask(openai_client, asked, **params)
    assert caught.value.code
    assert param in (caught.value.param or "")


@pytest.mark.parametrize("url", ["data:image/png;base64,????", "data:text/plain;base64,aGk=", "no url at all"])
def test_what_is_no_picture_is_a_typed_error(openai_client: OpenAI, asked: Asked, url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(openai.APIStatusError) as caught:
        ask(openai_client, asked, messages=[{"role": "user", "content": [part]}])
    assert 400 <= caught.value.status_code < 500
    assert caught.value.code


def test_a_broken_picture_is_a_typed_error(openai_client: OpenAI, asked: Asked) -> None:
    broken = base64.b64encode(asked.png[:60]).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{broken}"}}
    with pytest.raises((openai.BadRequestError, openai.UnprocessableEntityError)) as caught:
        ask(openai_client, asked, messages=[{"role": "user", "content": [part]}])
    assert caught.value.code == "invalid_image"


def test_several_choices_are_given_or_refused(openai_client: OpenAI, asked: Asked) -> None:
    try:
        given = [choice.message.content for choice in ask(openai_client, asked, n=2).choices]
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
        given = error.param
    assert given in ("n", [asked.answer] * 2)
