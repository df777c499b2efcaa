"""The command line tool `llm`, told of the service by a file or by its address alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from compat.asked import Asked, Shape
from compat.live import MODEL, Service

LLM = Path(sys.executable).parent / "llm"
MODELS = """
- model_id: tiny
  model_name: {model}
  api_base: {url}
  vision: true
  supports_schema: true
"""

Run = Callable[..., str]


@pytest.fixture
def run(service: Service, tmp_path: Path) -> Run:
    """Runs the command for a user who has the service in a file; what it prints."""
    home = tmp_path / "user"
    home.mkdir()
    (home / "extra-openai-models.yaml").write_text(MODELS.format(model=MODEL, url=service.openai_url))

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [LLM, *arguments],
            env={**os.environ, "LLM_USER_PATH": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return command


@pytest.fixture
def picture(asked: Asked, tmp_path: Path) -> str:
    path = tmp_path / "asked.png"
    path.write_bytes(asked.png)
    return str(path)


@pytest.mark.parametrize("options", [(), ("--no-stream",)], ids=["stream", "whole"])
def test_a_question_about_an_attachment(run: Run, asked: Asked, picture: str, options: tuple[str, ...]) -> None:
    assert run("-m", "tiny", "-o", "temperature", "0", "-a", picture, asked.prompt, *options) == asked.answer


def test_an_answer_keeps_to_a_schema(run: Run, first_shape: Asked, tmp_path: Path) -> None:
    path = tmp_path / "first.png"
    path.write_bytes(first_shape.png)
    schema = "color, shape"
    printed = run("-m", "tiny", "-o", "temperature", "0", "-a", str(path), "--schema", schema, first_shape.prompt)
    assert Shape(**json.loads(printed)) == Shape(**first_shape.json)


def test_a_conversation_goes_on(run: Run, asked: Asked, picture: str) -> None:
    run("-m", "tiny", "-o", "temperature", "0", "-a", picture, asked.prompt)
    assert run("-c", "-o", "temperature", "0", asked.prompt) == asked.answer


def test_the_address_alone_is_enough(run: Run, service: Service, asked: Asked, picture: str) -> None:
    assert MODEL in run("openai", "endpoint", service.openai_url, "--models")
    model = ("-m", MODEL, "-o", "temperature", "0")
    assert run("openai", "endpoint", service.openai_url, asked.prompt, *model, "-a", picture) == asked.answer
