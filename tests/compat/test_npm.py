"""The npm clients of OpenAI and Ollama."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from compat.asked import Asked, Shape
from compat.live import CALLING_MODEL, MODEL, Service

HERE = Path(__file__).parent
SCHEMA = {**Shape.model_json_schema(), "additionalProperties": False}


def node(script: str, step: str, given: dict[str, Any]) -> Any:
    """What a step of a script wrote."""
    done = subprocess.run(
        ["node", HERE / script, step], input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def by_openai(service: Service, step: str, asked: Asked, model: str = MODEL) -> Any:
    given = {"url": service.openai_url, "model": model, "messages": asked.messages, "schema": SCHEMA}
    return node("openai_client.mjs", step, given)


def by_ollama(service: Service, step: str, asked: Asked) -> Any:
    given = {"url": service.url, "model": MODEL, "prompt": asked.prompt, "image": asked.base64, "schema": SCHEMA}
    return node("ollama_client.mjs", step, given)


def test_openai_lists_and_finds_models(service: Service, asked: Asked) -> None:
    models = by_openai(service, "models", asked)
    assert MODEL in models["ids"]
    assert models["found"] == MODEL


def test_openai_answers_right(service: Service, asked: Asked) -> None:
    answer = by_openai(service, "answer", asked)
    assert answer["choices"][0]["message"]["content"] == asked.answer
    assert answer["request_id"]


def test_openai_streams_and_tells_the_usage_at_the_end(service: Service, described: Asked) -> None:
    *chunks, last = by_openai(service, "stream", described)
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert (said, last["choices"]) == (described.answer, [])
    assert last["usage"]["total_tokens"] > 0


def test_openais_stream_helper_puts_the_answer_together(service: Service, described: Asked) -> None:
    assert by_openai(service, "helper", described)["content"] == described.answer


def test_openai_keeps_to_a_schema(service: Service, first_shape: Asked) -> None:
    assert by_openai(service, "parse", first_shape) == first_shape.json


def test_openai_calls_a_tool(service: Service, first_shape: Asked) -> None:
    choice = by_openai(service, "tool", first_shape, CALLING_MODEL)
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == first_shape.json


def test_openai_names_an_unknown_model_by_its_error(service: Service, asked: Asked) -> None:
    error = by_openai(service, "unknown", asked)
    assert (error["typed"], error["code"]) == (True, "model_not_found")
    assert error["request_id"]


def test_ollama_lists_and_shows_models(service: Service, asked: Asked) -> None:
    models = by_ollama(service, "models", asked)
    assert MODEL in models["names"]
    assert "vision" in models["shown"]["capabilities"]
    assert models["version"][0].isdigit()


def test_ollama_answers_right(service: Service, asked: Asked) -> None:
    assert by_ollama(service, "chat", asked)["message"]["content"] == asked.answer
    assert by_ollama(service, "bytes", asked)["message"]["content"] == asked.answer
    assert by_ollama(service, "generate", asked)["response"] == asked.answer


def test_ollama_streams(service: Service, described: Asked) -> None:
    parts = by_ollama(service, "stream", described)
    assert "".join(part["message"]["content"] for part in parts) == described.answer
    assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]


def test_ollama_keeps_to_a_schema(service: Service, first_shape: Asked) -> None:
    answer = by_ollama(service, "format", first_shape)
    assert json.loads(answer["message"]["content"]) == first_shape.json


def test_ollama_pulls_what_is_there_and_sees_what_runs(service: Service, asked: Asked) -> None:
    assert by_ollama(service, "pull", asked)[-1]["status"] == "success"
    assert MODEL in by_ollama(service, "running", asked)


def test_ollama_pulls_and_deletes_a_model(empty_service: Service, asked: Asked) -> None:
    assert by_ollama(empty_service, "pull", asked)[-1]["status"] == "success"
    assert MODEL not in by_ollama(empty_service, "remove", asked)


def test_ollama_is_told_of_an_unknown_model(service: Service, asked: Asked) -> None:
    error = by_ollama(service, "unknown", asked)
    assert (error["name"], error["status"]) == ("ResponseError", 404)
    assert "model" in error["message"]
