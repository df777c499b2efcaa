"""Requests that come together: each is answered as soon as its own prompt is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch

from fixtures.chats import ask
from fixtures.counts import THREADS
from fixtures.shapes import held_out
from fixtures.stepped import Heard, serve
from fixtures.tiny_models import LLAVA, LLAVA_ID
from llm_vision.models.base import LoadContext
from llm_vision.models.families.vlm.llava import Llava


@pytest.fixture(scope="module")
def model() -> Llava:
    loaded = Llava()
    loaded.load(LoadContext("cpu", THREADS, LLAVA, model_id=LLAVA_ID))
    return loaded


def test_a_picture_is_looked_at_when_the_answer_before_it_has_begun(
    model: Llava, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard([ask(scene.draw(), "Describe the picture.") for scene, _ in held_out(4, seed=31)])
    plain = model._memory._encode

    def encode(pictures: Sequence[Any]) -> Iterable[torch.Tensor]:
        heard.sent.append({"type": "look"})
        return plain(pictures)

    monkeypatch.setattr(model._memory, "_encode", encode)
    serve(model, heard)
    looks = [at for at, message in enumerate(heard.sent) if message["type"] == "look"]
    begins = [
        next(at for at, message in enumerate(heard.sent) if message["type"] == "token" and message["id"] == number)
        for number in range(4)
    ]
    assert len(looks) == 4
    assert all(begin < look for begin, look in zip(begins, looks[1:], strict=False))
    ends = [message for message in heard.sent if message["type"] == "end"]
    assert all("result" in message for message in ends)
    assert max(begins) < heard.sent.index(ends[-1]), "they are answered together"


def test_who_left_before_it_joined_is_let_go_at_once(model: Llava) -> None:
    heard = Heard([ask(scene.draw(), "Describe the picture.") for scene, _ in held_out(3, seed=32)])
    heard.cancelled.add(2)
    serve(model, heard)
    told = [message for message in heard.sent if message["type"] == "end" or message["type"] == "token"]
    assert (told[0]["id"], told[0]["error"]) == (2, "client_closed")
    assert {message["id"] for message in told if "result" in message} == {0, 1}
