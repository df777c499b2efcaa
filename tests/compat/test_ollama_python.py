"""Ollama's own Python client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import ollama
import pytest
from ollama import Client

from compat.asked import Asked, Shape, colours
from compat.live import MODEL, Service, running
from fixtures.fake_hub import Hub
from fixtures.tiny_models import LLAVA

GREEDY = {"temperature": 0}


@pytest.fixture
def client(service: Service) -> Client:
    return Client(host=service.url)


def eventually(condition: Callable[[], bool], patience: float = 15.0) -> bool:
    ends = time.monotonic() + patience
    while time.monotonic() < ends and not condition():
        time.sleep(0.1)
    return condition()


def in_memory(client: Client) -> dict[str, ollama.ProcessResponse.Model]:
    return {model.model: model for model in client.ps().models}


def test_models_that_are_there_are_listed(client: Client) -> None:
    found = {model.model: model for model in client.list().models}[MODEL]
    assert found.size > 100_000
    assert found.modified_at.tzinfo
    assert found.digest
    assert found.details.family


def test_a_model_is_shown_with_what_it_can_do(client: Client) -> None:
    shown = client.show(MODEL)
    assert {"completion", "vision"} <= set(shown.capabilities)
    assert shown.details.family
    assert shown.modelinfo["llava.context_length"] == 4096
    assert shown.modified_at.year > 1970


def test_questions_about_pictures_are_answered_right(client: Client) -> None:
    for asked in colours():
        answer = client.chat(model=MODEL, messages=asked.ollama_messages, options=GREEDY)
        assert (answer.message.content, answer.message.role) == (asked.answer, "assistant")
        assert (answer.model, answer.done, answer.done_reason) == (MODEL, True, "stop")
        assert min(answer.prompt_eval_count, answer.eval_count) > 0
        assert min(answer.total_duration, answer.prompt_eval_duration, answer.eval_duration) > 0
        assert answer.total_duration < 120 * 10**9, "nanoseconds"
        assert datetime.fromisoformat(answer.created_at).tzinfo


def test_a_stream_says_the_same_in_pieces(client: Client, described: Asked) -> None:
    *parts, last = client.chat(model=MODEL, messages=described.ollama_messages, options=GREEDY, stream=True)
    assert "".join(part.message.content for part in [*parts, last]) == described.answer
    assert len(parts) > 2
    assert not any(part.done for part in parts)
    assert (last.done, last.done_reason) == (True, "stop")
    assert last.eval_count > 0


def test_generate_answers_with_and_without_a_stream(client: Client, asked: Asked) -> None:
    said = {"model": MODEL, "prompt": asked.prompt, "images": [asked.png], "options": GREEDY}
    assert client.generate(**said).response == asked.answer
    assert "".join(part.response for part in client.generate(**said, stream=True)) == asked.answer


def test_an_answer_keeps_to_a_schema(client: Client, first_shape: Asked) -> None:
    schema = Shape.model_json_schema()
    said = client.chat(model=MODEL, messages=first_shape.ollama_messages, options=GREEDY, format=schema)
    assert Shape.model_validate_json(said.message.content) == Shape(**first_shape.json)
    told = client.generate(
        model=MODEL, prompt=first_shape.prompt, images=[first_shape.png], options=GREEDY, format=schema
    )
    assert Shape.model_validate_json(told.response) == Shape(**first_shape.json)


def test_a_schema_binds_also_where_the_model_would_say_something_else(client: Client, asked: Asked) -> None:
    said = client.chat(model=MODEL, messages=asked.ollama_messages, options=GREEDY, format=Shape.model_json_schema())
    assert Shape.model_validate_json(said.message.content)


def test_any_json_object(client: Client, first_shape: Asked) -> None:
    said = client.chat(model=MODEL, messages=first_shape.ollama_messages, options=GREEDY, format="json")
    assert json.loads(said.message.content) == first_shape.json


def test_options_bound_an_answer(client: Client, described: Asked) -> None:
    def ask(**options: object) -> ollama.ChatResponse:
        return client.chat(model=MODEL, messages=described.ollama_messages, options={**GREEDY, **options})

    short = ask(num_predict=2)
    assert (short.eval_count, short.done_reason) == (2, "length")
    assert ask(stop=[" and"]).message.content == described.answer.partition(" and")[0]
    assert ask(seed=7, num_ctx=2048, top_k=40, repeat_penalty=1.0).message.content == described.answer


def test_keep_alive_tells_how_long_a_model_stays(client: Client, asked: Asked) -> None:
    client.chat(model=MODEL, messages=asked.ollama_messages, options=GREEDY, keep_alive="10m")
    loaded = in_memory(client)[MODEL]
    minutes = (loaded.expires_at - datetime.now(UTC)).total_seconds() / 60
    assert 9 < minutes <= 10.1
    assert loaded.size > 0
    assert loaded.size_vram is not None
    assert loaded.context_length == 4096
    client.chat(model=MODEL, messages=asked.ollama_messages, options=GREEDY, keep_alive=0)
    assert eventually(lambda: MODEL not in in_memory(client))


def test_generate_without_a_prompt_loads_and_unloads(client: Client) -> None:
    loaded = client.generate(model=MODEL)
    assert (loaded.done, loaded.response) == (True, "")
    assert MODEL in in_memory(client)
    unloaded = client.generate(model=MODEL, keep_alive=0)
    assert (unloaded.done, unloaded.done_reason) == (True, "unload")
    assert eventually(lambda: MODEL not in in_memory(client))


def test_tools_may_be_offered(client: Client, asked: Asked) -> None:
    def report(colour: str) -> None:
        """Report a colour.

        Args:
            colour: which one.
        """

    said = client.chat(model=MODEL, messages=asked.ollama_messages, options=GREEDY, tools=[report])
    assert said.message.tool_calls or said.message.content == asked.answer


def test_a_model_that_is_there_is_pulled_at_once(client: Client) -> None:
    assert client.pull(MODEL).status == "success"
    assert [part.status for part in client.pull(MODEL, stream=True)][-1] == "success"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_not_found(client: Client, asked: Asked, stream: bool) -> None:
    calls = (
        lambda: client.chat(model="nothing", messages=asked.ollama_messages, stream=stream),
        lambda: client.generate(model="nothing", prompt="x", stream=stream),
        lambda: client.show("nothing"),
        lambda: client.delete("nothing"),
    )
    for call in calls:
        with pytest.raises(ollama.ResponseError) as caught:
            list(call()) if stream else call()
        assert caught.value.status_code == 404
        assert "model" in caught.value.error


def test_a_model_that_nobody_has_is_not_pulled(client: Client) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as caught:
            list(client.pull("nothing", stream=stream))
        assert caught.value.error


def test_what_is_no_picture_is_refused(client: Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(model=MODEL, messages=[{"role": "user", "content": "x", "images": [b"no picture at all"]}])
    assert 400 <= caught.value.status_code < 500
    assert caught.value.error


def test_a_pull_that_fails_is_an_error_in_a_stream_and_without(tmp_path: Path) -> None:
    with Hub.of_folder(MODEL, LLAVA) as hub, running(tmp_path, hub.url) as service:
        hub.status = 500
        for stream in (False, True):
            with pytest.raises(ollama.ResponseError, match="answers 500"):
                list(Client(host=service.url).pull(MODEL, stream=stream))


def test_a_model_is_pulled_used_and_deleted(empty_service: Service, asked: Asked) -> None:
    client = Client(host=empty_service.url)
    assert MODEL not in {model.model for model in client.list().models}
    parts = list(client.pull(MODEL, stream=True))
    assert parts[-1].status == "success"
    assert any(part.total and part.completed == part.total for part in parts)
    assert client.chat(model=MODEL, messages=asked.ollama_messages, options=GREEDY).message.content == asked.answer
    assert client.delete(MODEL).status == "success"
    assert MODEL not in {model.model for model in client.list().models}


def test_what_the_operator_put_there_is_not_deleted(client: Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete(MODEL)
    assert caught.value.status_code == 409
    assert MODEL in {model.model for model in client.list().models}
