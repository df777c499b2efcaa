"""Keys do not meet each other's prompts and pictures in the caches of a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.chat_requests import OPENAI, chat_body
from fixtures.encoding import saved
from fixtures.live import LiveServer, Start
from fixtures.shapes import held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied
from llm_vision.app.rules import cache_owners
from llm_vision.settings import Settings

PICTURE = saved(next(iter(held_out(1, seed=92)))[0].draw())
QUESTION = "Describe the picture."
KEYS = "use-1, use-2"


def reused(server: LiveServer, headers: dict[str, str]) -> int:
    """Of a question's prompt, the tokens that had been read before."""
    body = chat_body(OPENAI, QUESTION, LLAVA_ID, [PICTURE], max_tokens=1)
    answer = server.client.post(OPENAI, json=body, headers=headers)
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


def test_a_key_meets_only_what_it_asked_itself(start_server: Start, tmp_path: Path) -> None:
    copied(LLAVA, tmp_path / LLAVA_ID)
    places = {"TRANSFORMERS_CACHE": str(tmp_path), "LLAVA_MODEL_ID": LLAVA_ID}
    server = start_server({**places, "VISION_API_KEYS": KEYS, "VISION_ADMIN_KEYS": "admin-1"})
    first, second, admin = ({"X-API-Key": key} for key in ("use-1", "use-2", "admin-1"))
    form = {"prompt": QUESTION, "model": LLAVA_ID}
    server.client.post("/analyze_image", files={"file": PICTURE}, data=form, headers=first).raise_for_status()
    assert [reused(server, key) for key in (second, admin)] == [0, 0]
    assert all(reused(server, key) > 16 for key in (first, second, admin, {"Authorization": "Bearer use-1"}))


@pytest.mark.parametrize(
    ("environment", "are_apart"),
    [
        ({"VISION_API_KEYS": KEYS}, True),
        ({"VISION_ADMIN_KEYS": KEYS}, True),
        ({"VISION_API_KEYS": KEYS, "VISION_SHARED_CACHE": "off"}, True),
        ({"VISION_API_KEYS": KEYS, "VISION_SHARED_CACHE": "on"}, False),
        ({}, False),
    ],
)
def test_keys_are_apart_unless_the_owner_trusts_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], are_apart: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    owners = cache_owners(Settings(_env_file=None))  # type: ignore[call-arg]
    assert (owners.tag("key 0") != owners.tag("key 1")) is are_apart
