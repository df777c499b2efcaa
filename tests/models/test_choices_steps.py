"""A decision among many long answers keeps nobody else waiting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from fixtures.chats import ask
from fixtures.float_llava import load_float_llava
from fixtures.items import PlainItem
from fixtures.shapes import COLOURS, NUMBERS, held_out
from fixtures.stepped import served
from llm_vision.errors import ClientClosed
from llm_vision.models.decoding import loop
from llm_vision.models.decoding.language_model import LanguageModel
from llm_vision.models.families.vlm.llava import Llava

SCENE = next(iter(held_out(1, seed=51)))[0]
LONGEST = [f"a {colour} shape, {number}, {'shape ' * 20}"[:100] for number in NUMBERS for colour in COLOURS][:32]
Event = tuple[str, int]


@pytest.fixture(scope="module")
def model() -> Llava:
    return load_float_llava()


@pytest.fixture
def events(model: Llava, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What the language model did, in order: a `step` of so many rows, or tokens of a prompt or an answer."""
    seen: list[Event] = []
    plain = {name: getattr(LanguageModel, name) for name in ("step", "read", "follow")}

    def note(name: str, count: Any) -> Any:
        def noted(self: LanguageModel, tokens: Any, *inputs: Any) -> Any:
            seen.append((name, count(tokens)))
            return plain[name](self, tokens, *inputs)

        return noted

    monkeypatch.setattr(LanguageModel, "step", note("step", len))
    monkeypatch.setattr(LanguageModel, "read", note("read", lambda embedded: embedded.shape[1]))
    monkeypatch.setattr(LanguageModel, "follow", note("follow", len))
    model.let_go()
    return seen


def decide(choices: Sequence[str], question: str = "Describe the picture.") -> PlainItem:
    return ask(SCENE.draw(), question, choices=list(choices))


def shares(result: Any) -> dict[str, float]:
    assert isinstance(result, dict), result
    found: dict[str, float] = result["probabilities"]
    return found


def test_others_get_a_token_between_any_two_passes(model: Llava, events: list[Event]) -> None:
    talk = ask(SCENE.draw(), "Describe the picture.", max_tokens=12)
    weighed, told = model.predict([decide(LONGEST), talk])
    passes = [at for at, (name, _) in enumerate(events) if name == "follow"]
    steps = [at for at, (name, _) in enumerate(events) if name == "step"]
    assert len(passes) > 20, "there is much to weigh"
    assert len(talk.tokens) > 5
    assert steps[-1] < passes[-1], "the answer was whole before the decision"
    between = [events[first:second] for first, second in pairwise(steps)]
    assert all(len(others) <= 2 for others in between), "one more pass at most"
    assert sum(shares(weighed).values()) == pytest.approx(1)
    model.let_go()
    assert model.predict([ask(SCENE.draw(), "Describe the picture.", max_tokens=12)])[0]["text"] == told["text"]  # type: ignore[index]


def test_no_pass_is_longer_than_a_piece_of_a_prompt(
    model: Llava, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHUNK", 8)
    model.predict([decide(LONGEST)])
    assert {name for name, _ in events} == {"read", "follow"}
    assert max(tokens for name, tokens in events if name == "follow") == 8


@pytest.mark.parametrize("choices", [LONGEST[:6], ["one", "one two", "one two three", "two", "zero"], ["yes", "no"]])
def test_pieces_change_no_probability(model: Llava, monkeypatch: pytest.MonkeyPatch, choices: list[str]) -> None:
    (whole,) = model.predict([decide(choices)])
    for most in (1, 3):
        monkeypatch.setattr(loop, "CHUNK", most)
        (cut,) = model.predict([decide(choices)])
        assert shares(cut) == pytest.approx(shares(whole), rel=1e-3)


def test_decisions_take_turns(model: Llava) -> None:
    """One among two words does not wait for one among 32 long answers that began before it."""
    ended: list[int] = []
    items = [decide(LONGEST), decide(["yes", "no"], "Is there a red circle?")]
    for item in items:
        model.join(item)
    while len(ended) < 2:
        ended += [items.index(item) for item, _ in model.step()]  # type: ignore[arg-type]
    assert ended == [1, 0]


def test_who_comes_while_answers_are_weighed_is_answered_before_them(model: Llava) -> None:
    long, late = decide(LONGEST), ask(SCENE.draw(), "Count the shapes.", max_tokens=3)
    model.join(long)
    while not model.can_join:
        assert not model.step()
    model.join(late)
    (first,) = next(ended for ended in iter(model.step, None) if ended)
    assert first[0] is late
    model.leave(long)


def test_who_leaves_is_not_weighed_on(model: Llava, events: list[Event]) -> None:
    item = decide(LONGEST)
    model.join(item)
    while len([name for name, _ in events if name == "follow"]) < 3:
        assert not model.step()
    item.cancelled = True
    ((ended, outcome),) = model.step()
    assert ended is item
    assert isinstance(outcome, ClientClosed)
    assert len([name for name, _ in events if name == "follow"]) == 3


@pytest.mark.parametrize(("fails", "beside"), [(1, 0), (2, 1), (3, 2)])
def test_memory_that_runs_out_while_answers_are_weighed_changes_nothing(
    model: Llava, monkeypatch: pytest.MonkeyPatch, fails: int, beside: int
) -> None:
    def asked() -> list[PlainItem]:
        talks = [ask(SCENE.draw(), "Describe the picture.", max_tokens=12 + more) for more in range(beside)]
        return [decide(LONGEST[:4]), *talks, decide(["yes", "no"], "Is there a red circle?")]

    wanted = [end["result"] for end in served(model, asked())]
    plain, left = LanguageModel.follow, {"passes": fails}

    def follow(self: LanguageModel, *inputs: Any) -> torch.Tensor:
        left["passes"] -= 1
        if left["passes"] == 0 or (beside and left["passes"] == -1):
            plain(self, *inputs)  # some of it has been read
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, *inputs)

    monkeypatch.setattr(LanguageModel, "follow", follow)
    for end, right in zip(served(model, asked()), wanted, strict=True):
        if "probabilities" in right:
            assert end["result"]["probabilities"] == pytest.approx(right["probabilities"], rel=1e-3)
        else:
            assert end["result"]["text"] == right["text"]
