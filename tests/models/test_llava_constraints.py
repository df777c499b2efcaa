"""Rows whose constraint takes long sit out; all others go on, and no answer changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fixtures.chats import ask
from fixtures.counts import THREADS
from fixtures.processes import grammar_servers
from fixtures.shapes import held_out
from fixtures.stepped import Heard, serve, served
from fixtures.tiny_models import LLAVA, LLAVA_ID
from fixtures.waiting import eventually, is_gone
from llm_vision.errors import InvalidParameter, VisionError
from llm_vision.models.base import LoadContext
from llm_vision.models.decoding import loop
from llm_vision.models.families.vlm.llava import Llava

ASKED = list(held_out(4, seed=41, kind="description"))
ANY = {"type": "json_object"}


class Slow:
    """A constraint that allows everything, later.

    Args:
        looks: how often it is not known yet, before each token.
        failure: why nothing is allowed, in the end.
    """

    def __init__(self, looks: int, failure: VisionError | None = None) -> None:
        self.failure: VisionError | None = None
        self.is_closed = False
        self.waited: list[float] = []
        self._looks = self._left = looks
        self._later = failure

    def is_ready(self, seconds: float | None = 0.0) -> bool:
        self.waited.append(seconds or 0.0)
        self._left -= 1
        if self._left < 0:
            self.failure = self._later
        return self._left < 0

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        if self.failure:
            raise self.failure
        return logits

    def take(self, token: int) -> None:
        self._left = self._looks

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(scope="module")
def model() -> Llava:
    loaded = Llava()
    loaded.load(LoadContext("cpu", THREADS, LLAVA, model_id=LLAVA_ID))
    return loaded


@pytest.fixture
def slow(model: Llava, monkeypatch: pytest.MonkeyPatch) -> Callable[[Slow], Slow]:
    """Gives answers in JSON this constraint."""

    def use(constraint: Slow) -> Slow:
        monkeypatch.setattr(model._constraints, "constraint", lambda _: constraint)
        return constraint

    return use


def items(constrained: int | None = None) -> list[Any]:
    formats = [ANY if number == constrained else None for number in range(len(ASKED))]
    return [
        ask(scene.draw(), question.prompt, format=form) for (scene, question), form in zip(ASKED, formats, strict=True)
    ]


def texts(ends: list[Any]) -> list[str]:
    return [end["result"]["text"] for end in ends]


@pytest.mark.parametrize(("place", "looks"), [(0, 1), (2, 3), (3, 50)])
def test_a_row_that_sits_out_changes_no_answer(
    model: Llava, slow: Callable[[Slow], Slow], place: int, looks: int
) -> None:
    wanted = texts(served(model, items()))
    constraint = slow(Slow(looks))
    assert texts(served(model, items(place))) == wanted
    assert constraint.is_closed
    assert max(constraint.waited) <= loop.PATIENCE


def test_the_others_end_while_it_sits_out(model: Llava, slow: Callable[[Slow], Slow]) -> None:
    slow(Slow(300))
    heard = Heard(items(0))
    serve(model, heard)
    ends = [message["id"] for message in heard.sent if message["type"] == "end"]
    assert ends[-1] == 0
    assert sorted(ends) == [0, 1, 2, 3]


def test_a_prompt_of_which_it_is_not_known_whether_it_can_be_answered_keeps_nobody_from_joining(
    model: Llava, slow: Callable[[Slow], Slow]
) -> None:
    never = slow(Slow(10**9))
    first, second, *_ = items(0)
    model.join(first)
    while not model.can_join:  # its picture is looked at
        assert not model.step()
    model.join(second)
    ended: list[Any] = []
    while not ended:
        ended = list(model.step())
    assert ended[0][0] is second
    model.leave(first)
    assert never.is_closed


def test_what_cannot_be_followed_is_refused_before_its_prompt_is_read(
    model: Llava, slow: Callable[[Slow], Slow], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = slow(Slow(2, InvalidParameter("it cannot be followed", param="response_format")))
    monkeypatch.setattr("llm_vision.models.decoding.language_model.LanguageModel.read", None)
    (end,) = served(model, items(0)[:1])
    assert (end["error"], end["param"]) == ("invalid_parameter", "response_format")
    assert refused.is_closed


def test_who_leaves_while_it_sits_out_is_let_go(model: Llava, slow: Callable[[Slow], Slow]) -> None:
    constraint = slow(Slow(5))
    heard = Heard(items(1)[:2])
    plain = constraint.take

    def leave(token: int) -> None:
        plain(token)
        heard.cancelled.add(1)

    constraint.take = leave  # type: ignore[method-assign]
    serve(model, heard)
    ends = {message["id"]: message for message in heard.sent if message["type"] == "end"}
    assert ends[1]["error"] == "client_closed"
    assert "result" in ends[0]
    assert constraint.is_closed


@pytest.mark.parametrize("step", [8])
def test_memory_that_runs_out_while_a_row_sits_out_changes_no_answer(
    model: Llava, slow: Callable[[Slow], Slow], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    wanted = texts(served(model, items()))
    slow(Slow(3))
    plain, number = loop.LanguageModel.step, 0

    def fail(*inputs: Any) -> Any:
        nonlocal number
        number += 1
        if number in (step, step + 1, step + 2):
            raise MemoryError
        return plain(*inputs)

    monkeypatch.setattr(loop.LanguageModel, "step", fail)
    assert texts(served(model, items(1))) == wanted


def test_a_real_constraint_costs_a_row_nothing_but_its_freedom(model: Llava) -> None:
    wanted = texts(served(model, items()))
    schema = {"type": "json_schema", "schema": {"enum": ["red", "blue"]}}
    asked = items()
    asked[2].params["format"] = schema
    answers = texts(served(model, asked))
    (started,) = grammar_servers()
    model._constraints.close()
    eventually(lambda: is_gone(started))
    assert answers.pop(2).strip() in {'"red"', '"blue"'}
    del wanted[2]
    assert answers == wanted
