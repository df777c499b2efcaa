"""What was seen is not looked at again, and is never taken for something else."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fixtures.chats import ask, chat, said, user
from fixtures.float_llava import load_float_llava
from fixtures.shapes import Question, Scene, held_out
from llm_vision.models.base import Item, JsonObject
from llm_vision.models.decoding.cache import TokenCache
from llm_vision.models.decoding.prefixes import PrefixStore
from llm_vision.models.families.vlm.llava import Llava
from llm_vision.models.families.vlm.pictures import PictureMemory, SeenPicture


@pytest.fixture(scope="module")
def model() -> Llava:
    return load_float_llava()


@pytest.fixture
def looks(model: Llava, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures the vision tower was shown, each time; nothing is known before."""
    model.let_go()
    counts: list[int] = []
    plain = model._memory._encode

    def encode(pictures: Sequence[Any]) -> Iterable[torch.Tensor]:
        counts.append(len(pictures))
        return plain(pictures)

    monkeypatch.setattr(model._memory, "_encode", encode)
    return counts


def one(model: Llava, item: Item) -> JsonObject:
    (result,) = model.predict([item])
    assert isinstance(result, dict), result
    return result


def asked(count: int) -> list[tuple[Scene, Question]]:
    return list(held_out(count, seed=77))


def test_the_second_question_about_a_picture_is_read_from_its_first_new_word(model: Llava, looks: list[int]) -> None:
    scene, first = asked(1)[0]
    picture = scene.draw()
    begun = one(model, ask(picture, first.prompt))
    second = one(model, ask(picture, "Describe the picture."))
    assert looks == [1]
    assert begun["usage"]["reused_tokens"] == 0
    assert second["usage"]["reused_tokens"] > 16, "the tokens of the picture"
    model.let_go()
    assert one(model, ask(picture, "Describe the picture."))["text"] == second["text"]


def test_a_question_asked_again_reads_one_token(model: Llava, looks: list[int]) -> None:
    scene, question = asked(1)[0]
    results = [one(model, ask(scene.draw(), question.prompt)) for _ in range(3)]
    assert {result["text"] for result in results} == {question.answer}
    usage = results[-1]["usage"]
    assert usage["reused_tokens"] == usage["prompt_tokens"] - 1
    assert looks == [1]


def test_a_conversation_goes_on_where_it_was(model: Llava, looks: list[int]) -> None:
    scene, question = asked(1)[0]
    one(model, ask(scene.draw(), question.prompt))
    turns = [user(question.prompt, 1), said("assistant", question.answer), user("Describe the picture.")]
    later = one(model, chat(turns, scene.draw()))
    assert later["usage"]["reused_tokens"] > 20
    assert looks == [1]


def test_pictures_of_equal_size_are_never_taken_for_each_other(model: Llava, looks: list[int]) -> None:
    """Many pictures, one size, the same words, asked together and again in another order."""
    pairs = asked(24)
    alone = []
    for scene, question in pairs:
        model.let_go()
        alone.append(one(model, ask(scene.draw(), question.prompt))["text"])
    model.let_go()
    for order in (range(24), reversed(range(24)), [*range(0, 24, 2), *range(1, 24, 2)]):
        places = list(order)
        for start in range(0, 24, 6):
            part = places[start : start + 6]
            results = model.predict([ask(pairs[place][0].draw(), pairs[place][1].prompt) for place in part])
            assert [result["text"] for result in results if isinstance(result, dict)] == [
                alone[place] for place in part
            ]


def test_one_different_pixel_is_another_picture(model: Llava, looks: list[int]) -> None:
    scene, question = asked(1)[0]
    first, second = scene.draw(), scene.draw()
    second.putpixel((63, 63), (0, 0, 0))
    one(model, ask(first, question.prompt))
    other = one(model, ask(second, question.prompt))
    assert looks == [1, 1]
    assert other["usage"]["reused_tokens"] == 0, "what stands before the picture is too little to be kept"


def test_what_is_kept_has_a_bound(model: Llava, looks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = asked(8)
    one(model, ask(pairs[0][0].draw(), pairs[0][1].prompt))
    prompts, pictures = model._prefixes._known, model._memory._known
    monkeypatch.setattr(prompts, "max_bytes", 3 * prompts.size_bytes)
    monkeypatch.setattr(pictures, "max_bytes", 2 * pictures.size_bytes)
    for scene, question in pairs:
        one(model, ask(scene.draw(), question.prompt))
        assert sum(cache.size_bytes for _, (_, cache) in prompts.items("")) <= prompts.max_bytes
        assert len(pictures) <= 2
    assert one(model, ask(pairs[0][0].draw(), pairs[0][1].prompt))["text"] == pairs[0][1].answer
    assert looks == [1] * 9, "the first one had to go"


def seen(memory: PictureMemory, *pictures: NDArray[np.uint8]) -> list[SeenPicture]:
    """The pictures of a request, at once."""
    found: list[SeenPicture] = []

    def look() -> Generator[None]:
        found.extend((yield from memory.see("", pictures)))

    for _ in look():
        pass
    return found


def test_a_picture_that_was_forgotten_gets_another_number() -> None:
    memory = PictureMemory(lambda pictures: [torch.zeros(4, 2) for _ in pictures], max_bytes=32)
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(3)]
    numbers = [seen(memory, picture)[0].number for picture in (*pictures, *pictures)]
    assert len(set(numbers)) == 6


def test_a_picture_among_others_is_not_the_picture_alone() -> None:
    memory = PictureMemory(lambda pictures: [torch.zeros(len(pictures), 2) for _ in pictures], max_bytes=1 << 20)
    picture = np.zeros((2, 2, 3), np.uint8)
    (alone,) = seen(memory, picture)
    together = seen(memory, picture, picture + 1)
    assert len({alone.number, *(one.number for one in together)}) == 3


def _cache(tokens: int) -> TokenCache:
    cache = TokenCache(2)
    for layer in range(2):
        keys = torch.arange(float(tokens))[None, None, :, None].expand(1, 1, tokens, 2).contiguous()
        cache.update(keys, keys + layer, layer)
    return cache


def test_the_longest_beginning_is_found_and_stays_as_it_was() -> None:
    store = PrefixStore(1 << 20)
    first, second = list(range(40)), [*range(30), 99, *range(31, 60)]
    cache = _cache(40)
    store.keep("", first, cache)
    store.keep("", second, _cache(60))
    cache.update(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2), 0)  # the answer goes on
    found = store.longest("", [*second[:50], 7, 7])
    assert found is not None
    count, known = found
    assert (count, known.get_seq_length()) == (50, 50)
    assert store.longest("", [5, 6, 7]) is None
    assert store.longest("", first)[0] == 39, "the last token is read for what comes behind it"  # type: ignore[index]
