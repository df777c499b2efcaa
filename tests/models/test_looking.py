"""Many pictures of one request keep nobody else waiting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch

from fixtures.chats import ask, chat, user
from fixtures.float_llava import load_float_llava
from fixtures.items import PlainItem
from fixtures.shapes import held_out
from fixtures.stepped import served
from llm_vision.errors import ClientClosed, InvalidParameter
from llm_vision.models.decoding.language_model import LanguageModel
from llm_vision.models.families.vlm.llava import Llava

SCENES = [scene for scene, _ in held_out(9, seed=71)]
DESCRIBE = "Describe the picture."


@pytest.fixture(scope="module")
def model() -> Llava:
    return load_float_llava()


@pytest.fixture
def events(model: Llava, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model did, in order: a `look` at some pictures at once, a `step` of rows."""
    seen: list[str] = []
    tower, step = model.network.get_image_features, LanguageModel.step

    def noted_tower(**inputs: Any) -> Any:
        seen.append("look")
        return tower(**inputs)

    def noted_step(self: LanguageModel, *inputs: Any) -> torch.Tensor:
        seen.append("step")
        return step(self, *inputs)

    monkeypatch.setattr(model.network, "get_image_features", noted_tower)
    monkeypatch.setattr(LanguageModel, "step", noted_step)
    model.let_go()
    return seen


def many_pictures(**params: object) -> PlainItem:
    return chat([user("What do all of them show?", 8)], *(scene.draw() for scene in SCENES[:8]), max_tokens=3, **params)


def test_others_get_their_tokens_between_the_pictures_of_a_request(model: Llava, events: list[str]) -> None:
    talk, many = ask(SCENES[8].draw(), DESCRIBE), many_pictures()
    model.join(talk)
    model.join(many)
    while not any(item is talk for item, _ in model.step()):
        pass
    assert events.count("look") > 2
    assert all(pair != ("look", "look") for pair in pairwise(events[1:]))
    ((_, together),) = next(ended for ended in iter(model.step, None) if ended)
    assert events.count("look") == 5, "the eight of one request in four parts"
    model.let_go()
    (alone,) = model.predict([many_pictures()])
    assert alone["text"] == together["text"]  # type: ignore[index]


def test_what_is_wrong_with_a_request_is_told_before_its_pictures_are_looked_at(
    model: Llava, events: list[str]
) -> None:
    with pytest.raises(InvalidParameter):
        model.join(chat([user("What is it?", 2)], SCENES[0].draw()))
    assert model.can_join
    assert not events


def test_who_leaves_between_two_pictures_is_looked_at_no_further(model: Llava, events: list[str]) -> None:
    item = many_pictures()
    model.join(item)
    assert model.step() == []
    item.cancelled = True
    ((ended, outcome),) = model.step()
    assert (ended, events) == (item, ["look"])
    assert isinstance(outcome, ClientClosed)
    assert model.can_join


def test_who_is_forgotten_between_two_pictures_is_told_nothing(model: Llava, events: list[str]) -> None:
    item = many_pictures()
    model.join(item)
    model.step()
    model.leave(item)
    assert model.can_join
    assert model.step() == []
    assert events == ["look"]


@pytest.fixture
def fails(model: Llava, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """The looks that fail."""
    found: set[int] = set()
    tower, count = model.network.get_image_features, iter(range(1, 1000))

    def failing(**inputs: Any) -> Any:
        if next(count) in found:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return tower(**inputs)

    model.let_go()
    monkeypatch.setattr(model.network, "get_image_features", failing)
    yield found
    found.clear()


def results(model: Llava, items: Sequence[PlainItem]) -> list[Any]:
    return [end.get("error") or end["result"]["text"] for end in served(model, items)]


@pytest.mark.parametrize("failing", [1, 2, 4])
def test_memory_that_runs_out_while_pictures_are_looked_at_changes_no_answer(
    model: Llava, fails: set[int], failing: int
) -> None:
    def asked() -> list[PlainItem]:
        return [ask(SCENES[8].draw(), DESCRIBE), many_pictures(), ask(SCENES[0].draw(), DESCRIBE)]

    wanted = results(model, asked())
    model.let_go()
    fails |= {5 + 1 + failing}  # five looks until now
    assert results(model, asked()) == wanted


def test_pictures_that_do_not_fit_even_alone_fail_alone(model: Llava, fails: set[int]) -> None:
    (wanted,) = results(model, [ask(SCENES[8].draw(), DESCRIBE)])
    model.let_go()
    fails |= {3, 4}
    assert results(model, [ask(SCENES[8].draw(), DESCRIBE), many_pictures()]) == [wanted, "insufficient_memory"]
    assert results(model, [ask(SCENES[8].draw(), DESCRIBE)]) == [wanted]
