"""What one client asked and showed is nothing that another one could find out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fixtures.chats import ask, chat, user
from fixtures.float_llava import load_float_llava
from fixtures.items import PlainItem
from fixtures.shapes import held_out
from llm_vision.admission.owners import CacheOwners
from llm_vision.models.base import JsonObject
from llm_vision.models.decoding.keeping import FairStore
from llm_vision.models.decoding.language_model import LanguageModel
from llm_vision.models.families.vlm.llava import Llava

VICTIM, ATTACKER = "victim", "attacker"
SECRET = "The code of the safe behind the picture of the red circle is 7381."
PICTURE = next(iter(held_out(1, seed=91)))[0]


@pytest.fixture(scope="module")
def loaded() -> Llava:
    return load_float_llava()


class Work:
    """What a model computes: pictures that its tower sees, and tokens of prompts that it reads."""

    def __init__(self) -> None:
        self.pictures = 0
        self.tokens = 0

    def of(self, model: Llava, item: PlainItem) -> tuple[int, int, int]:
        """What one request makes it do, and how much it is told to have saved."""
        self.pictures = self.tokens = 0
        (result,) = model.predict([item])
        assert isinstance(result, dict), result
        return self.pictures, self.tokens, result["usage"]["reused_tokens"]


@pytest.fixture
def work(loaded: Llava, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    found = Work()
    see, read = loaded._memory._encode, LanguageModel.read

    def noted_see(pictures: Sequence[Any]) -> Any:
        found.pictures += len(pictures)
        return see(pictures)

    def noted_read(self: LanguageModel, embedded: torch.Tensor, *rest: Any) -> torch.Tensor:
        found.tokens += embedded.shape[1]
        return read(self, embedded, *rest)

    monkeypatch.setattr(loaded._memory, "_encode", noted_see)
    monkeypatch.setattr(LanguageModel, "read", noted_read)
    loaded.let_go()
    yield found
    loaded.let_go()


def of(owner: str, item: PlainItem) -> PlainItem:
    item.owner = owner
    return item


def text(words: str) -> JsonObject:
    return user(f"Look at this for me. {words}")


def guess_letters(model: Llava, work: Work) -> list[tuple[int, int, int]]:
    """What every guess costs somebody who knows all of a prompt but its end."""
    known = SECRET.index("7381")
    guesses = [SECRET[:length] + letter for length in range(known, known + 4) for letter in "0123456789"]
    return [work.of(model, of(ATTACKER, chat([text(guess)], max_tokens=1))) for guess in guesses]


def test_a_secret_cannot_be_read_letter_by_letter(loaded: Llava, work: Work) -> None:
    """What guesses cost, in figures and in work, is the same whether somebody has asked what they guess or not."""
    alone = guess_letters(loaded, work)
    loaded.let_go()
    work.of(loaded, of(VICTIM, chat([text(SECRET)], max_tokens=1)))
    assert guess_letters(loaded, work) == alone


@pytest.mark.parametrize("words", [SECRET, "Something else, and as long as it: nothing that anybody asked."])
def test_a_prompt_of_another_client_is_read_as_if_it_were_new(loaded: Llava, work: Work, words: str) -> None:
    item = chat([text(words)], max_tokens=1)
    alone = work.of(loaded, of(ATTACKER, item))
    loaded.let_go()
    work.of(loaded, of(VICTIM, chat([text(SECRET)], max_tokens=1)))
    assert work.of(loaded, of(ATTACKER, item)) == alone


def test_whether_a_picture_was_shown_before_is_not_told(loaded: Llava, work: Work) -> None:
    shown = work.of(loaded, of(VICTIM, ask(PICTURE.draw(), "Describe the picture.")))
    assert work.of(loaded, of(ATTACKER, ask(PICTURE.draw(), "Describe the picture."))) == shown
    assert shown[0] == 1
    assert shown[2] == 0


def test_whether_answers_were_weighed_before_is_not_told(loaded: Llava, work: Work) -> None:
    asked = ("Is there a red circle?", {"choices": ["yes", "no"]})
    first = work.of(loaded, of(VICTIM, ask(PICTURE.draw(), asked[0], **asked[1])))
    assert work.of(loaded, of(ATTACKER, ask(PICTURE.draw(), asked[0], **asked[1]))) == first


def test_ones_own_second_question_begins_at_its_first_new_word(loaded: Llava, work: Work) -> None:
    """Also where another client has shown the same picture in between."""
    for owner in (VICTIM, ATTACKER):
        work.of(loaded, of(owner, ask(PICTURE.draw(), "Describe the picture.")))
    for owner in (VICTIM, ATTACKER):
        pictures, tokens, reused = work.of(loaded, of(owner, ask(PICTURE.draw(), "Describe the picture.")))
        assert (pictures, tokens) == (0, 1)
        assert reused > 16


def test_requests_that_are_answered_together_tell_each_other_nothing(loaded: Llava, work: Work) -> None:
    items = [of(owner, chat([text(SECRET)], max_tokens=4)) for owner in (VICTIM, ATTACKER, VICTIM)]
    reused = [result["usage"]["reused_tokens"] for result in loaded.predict(items) if isinstance(result, dict)]
    assert reused[:2] == [0, 0]
    assert reused[2] > 16


def test_a_tag_says_nothing_of_its_client() -> None:
    owners, others = CacheOwners(are_apart=True), CacheOwners(are_apart=True)
    tags = [owners.tag(f"key {number}") for number in range(100)]
    assert len({*tags}) == 100
    assert owners.tag("key 7") == tags[7]
    assert others.tag("key 7") != tags[7], "it cannot be guessed"
    assert {CacheOwners(are_apart=False).tag(f"key {number}") for number in range(3)} == {""}


def test_who_stores_much_displaces_only_itself() -> None:
    store: FairStore[int, int] = FairStore(max_bytes=100)
    store.put(VICTIM, 0, 0, 10)
    for number in range(1000):
        store.put(ATTACKER, number, number, 10 + number % 40)
        assert store.use(VICTIM, 0) == 0 or number == 0


def test_among_equals_whoever_came_longest_ago_gives_way() -> None:
    store: FairStore[int, str] = FairStore(max_bytes=3)
    for owner in "abcd":
        store.put(owner, 0, owner, 1)
    assert [store.use(owner, 0) for owner in "abcd"] == [None, "b", "c", "d"]
    store.put("b", 1, "b1", 1)
    assert [store.use(owner, 0) for owner in "abcd"] == [None, None, "c", "d"], "it has most: its older one goes"


ACTIONS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(1, 12)), max_size=60)


@given(ACTIONS)
def test_the_bounds_hold_and_a_value_is_its_owners(actions: list[tuple[str, int, int]]) -> None:
    store: FairStore[int, tuple[str, int]] = FairStore(max_bytes=20, most=4)
    for owner, key, size in actions:
        store.put(owner, key, (owner, key), size)
        held = [(owner, *item) for owner in "abc" for item in store.items(owner)]
        assert len(held) == len(store) <= 4
        assert all(value == (owner, key) for owner, key, value in held)
        assert store.use(owner, key) == (owner, key), "what was just stored is there"
        assert 0 <= store.size_bytes <= 20
    store.clear()
    assert (len(store), store.size_bytes, [*store.items("a")]) == (0, 0, [])
