"""Decisions among given answers: how probable the model finds each."""

from __future__ import annotations

import math

import pytest

from fixtures.chats import ask
from fixtures.float_llava import load_float_llava
from fixtures.shapes import COLOURS, NUMBERS, held_out
from llm_vision.errors import InvalidParameter
from llm_vision.models.base import JsonObject
from llm_vision.models.families.vlm.llava import Llava


@pytest.fixture(scope="module")
def model() -> Llava:
    return load_float_llava()


def decided(model: Llava, kind: str, choices: list[str], count: int = 12) -> list[tuple[str, dict[str, float]]]:
    """The right answers, and the probabilities of the choices."""
    pairs = list(held_out(count, seed=41, kind=kind))
    items = [ask(scene.draw(), question.prompt, choices=choices) for scene, question in pairs]
    results = model.predict(items)
    found: list[tuple[str, dict[str, float]]] = []
    for (_, question), result in zip(pairs, results, strict=True):
        assert isinstance(result, dict), result
        found.append((question.answer, result["probabilities"]))
    return found


@pytest.mark.parametrize(
    ("kind", "choices"), [("presence", ["yes", "no"]), ("count", list(NUMBERS)), ("colour", list(COLOURS))]
)
def test_the_right_answer_is_the_most_probable_one(model: Llava, kind: str, choices: list[str]) -> None:
    found = decided(model, kind, choices)
    right = [max(shares, key=shares.__getitem__) == answer for answer, shares in found]
    assert sum(right) >= 11
    for _, shares in found:
        assert list(shares) == choices
        assert sum(shares.values()) == pytest.approx(1)


def test_upper_case_and_spaces_are_the_same_answer(model: Llava) -> None:
    plain, other = decided(model, "presence", ["yes", "no"], 4), decided(model, "presence", ["Yes", "No"], 4)
    for (_, shares), (_, spelled) in zip(plain, other, strict=True):
        assert spelled["Yes"] >= shares["yes"] - 0.01


def test_the_probability_is_that_of_the_tokens(model: Llava) -> None:
    """Of one token each, the shares are those of the first token's own probabilities."""
    scene, question = next(iter(held_out(1, seed=43, kind="presence")))
    (weighed,) = model.predict([ask(scene.draw(), question.prompt, choices=["yes", "no"])])
    (written,) = model.predict([ask(scene.draw(), question.prompt, logprobs=20)])
    assert isinstance(weighed, dict)
    assert isinstance(written, dict)
    (first, *_) = written["logprobs"]
    named = {one["token"]: one["logprob"] for one in first["top_logprobs"]}
    odds = named[" yes"] - named[" no"]
    shares = weighed["probabilities"]
    assert math.log(shares["yes"] / shares["no"]) == pytest.approx(odds, abs=0.2)


def test_an_answer_that_begins_another_one_must_end(model: Llava) -> None:
    (answer, shares), *_ = decided(model, "count", ["one", "one two", "two", "three", "zero"], 1)
    assert max(shares, key=shares.__getitem__) == answer
    assert shares["one two"] < 0.01


def test_nothing_is_written_and_the_next_question_goes_on_from_there(model: Llava) -> None:
    scene, question = next(iter(held_out(1, seed=44, kind="count")))
    item = ask(scene.draw(), question.prompt, choices=list(NUMBERS))
    (weighed,) = model.predict([item])
    assert isinstance(weighed, dict)
    usage: JsonObject = weighed["usage"]
    assert (usage["completion_tokens"], item.tokens) == (0, [])
    (written,) = model.predict([ask(scene.draw(), question.prompt)])
    assert isinstance(written, dict)
    assert written["text"] == question.answer
    assert written["usage"]["reused_tokens"] == usage["prompt_tokens"] - 1


def test_choices_that_cannot_be_told_apart_are_refused(model: Llava) -> None:
    scene, question = next(iter(held_out(1, seed=45, kind="count")))
    (refused,) = model.predict([ask(scene.draw(), question.prompt, choices=["one", "One"])])
    assert isinstance(refused, InvalidParameter)
