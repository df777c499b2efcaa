"""The tiny trained LLaVAs: they see, and answer as plain Transformers does, alone and together, in fp32 and bf16."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures.chats import ask, chat, said, user
from fixtures.counts import THREADS, many
from fixtures.counts import some as some_cases
from fixtures.items import PlainItem
from fixtures.number_format import number_format
from fixtures.shapes import EXACT_KINDS, KINDS, Question, Scene, held_out, questions, random_scene
from fixtures.tiny_models import LLAVA, LLAVA_ID, LLAVA_NEXT, LLAVA_NEXT_ID, copied
from llm_vision.errors import ClientClosed, ContextLengthExceeded, InvalidParameter
from llm_vision.models.base import JsonObject, LoadContext, Quantization, UnusableWeights
from llm_vision.models.families.vlm.llava import Llava

COUNT = many(500, 120)
LESS_EXACT = many(500, 60)  # in formats that processors without instructions for them are slow at
MODELS = {LLAVA_ID: LLAVA, LLAVA_NEXT_ID: LLAVA_NEXT}
NOISE = "The weather was fine that day, and nobody thought of rain. "

Asked = Sequence[tuple[Scene, Question]]


def loaded(model_id: str, dtype: str, folder: Path | None = None, bits: Quantization = Quantization.NONE) -> Llava:

    model = Llava()
    with number_format(dtype):
        model.load(LoadContext("cpu", THREADS, folder or MODELS[model_id], bits, model_id))
    model.threads = THREADS
    return model


@pytest.fixture(scope="module", params=MODELS)
def model_id(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(model_id: str) -> Llava:
    return loaded(model_id, "float32")


def drawn(scene: Scene, number: int, model_id: str) -> Image.Image:
    """A picture of the scene; for NeXT, of all sizes and directions."""
    if model_id == LLAVA_ID:
        return scene.draw()
    random_ = random.Random(number)
    return scene.draw(random_.randint(64, 128), random_.randint(64, 128))


def items_for(asked: Asked, model_id: str, **params: object) -> list[PlainItem]:
    return [ask(drawn(scene, at, model_id), question.prompt, **params) for at, (scene, question) in enumerate(asked)]


def answers(model: Llava, items: Sequence[PlainItem], batch: int = 8) -> list[str]:
    found: list[str] = []
    for start in range(0, len(items), batch):
        results = model.predict(items[start : start + batch])
        found += [result["text"] for result in results if isinstance(result, dict)]
    assert len(found) == len(items)
    return found


def right(found: Sequence[str], asked: Asked) -> float:
    return sum(text == question.answer for text, (_, question) in zip(found, asked, strict=True)) / len(asked)


@pytest.fixture(scope="module")
def asked() -> Asked:
    """Questions of all exact kinds about scenes that were never trained on."""
    return list(held_out(COUNT, seed=5))


@pytest.fixture(scope="module")
def together(model: Llava, model_id: str, asked: Asked) -> list[str]:
    return answers(model, items_for(asked, model_id))


def test_it_sees_what_it_has_never_seen(together: list[str], asked: Asked) -> None:
    assert right(together, asked) >= 0.95
    for kind in EXACT_KINDS:
        some = [(text, pair) for text, pair in zip(together, asked, strict=True) if pair[1].kind == kind]
        assert len(some) > COUNT // 10
        assert right([text for text, _ in some], [pair for _, pair in some]) >= 0.93, kind


def test_yes_is_as_often_right_as_no(model: Llava, model_id: str) -> None:
    count = many(200, 60)
    asked = list(held_out(count, seed=6, kind="presence"))
    found = answers(model, items_for(asked, model_id))
    for answer in ("yes", "no"):
        some = [(text, pair) for text, pair in zip(found, asked, strict=True) if pair[1].answer == answer]
        assert len(some) > count // 3
        assert right([text for text, _ in some], [pair for _, pair in some]) >= 0.93, answer


@pytest.fixture(scope="module")
def plain(model_id: str) -> Any:
    return plain_model(model_id)


def plain_model(model_id: str, dtype: str = "float32") -> Any:
    import transformers

    name = "LlavaForConditionalGeneration" if model_id == LLAVA_ID else "LlavaNextForConditionalGeneration"
    found = getattr(transformers, name).from_pretrained(MODELS[model_id], dtype=dtype).eval()
    found.generation_config.max_length = None
    return found


def plain_answer(plain: Any, model_id: str, item: PlainItem) -> tuple[list[int], str]:
    """Tokens and text of Transformers' own processor and `generate`."""
    import transformers

    name = "LlavaProcessor" if model_id == LLAVA_ID else "LlavaNextProcessor"
    processor = getattr(transformers, name).from_pretrained(MODELS[model_id])
    text = processor.apply_chat_template(item.params["messages"], add_generation_prompt=True)
    pictures = [Image.fromarray(picture) for picture in item.images]
    inputs = processor(images=pictures, text=text, return_tensors="pt").to(plain.dtype)
    ids = plain.generate(**inputs, max_new_tokens=item.params["max_tokens"], do_sample=False)[0]
    ids = ids[inputs.input_ids.shape[1] :].tolist()
    return ids, processor.decode(ids, skip_special_tokens=True).strip()


def test_the_same_tokens_as_plain_transformers(model: Llava, plain: Any, model_id: str, asked: Asked) -> None:
    for item in items_for(asked[: many(60, 20)], model_id):
        (result,) = model.predict([item])
        assert isinstance(result, dict)
        ids, text = plain_answer(plain, model_id, item)
        assert result["text"] == text
        assert result["usage"]["completion_tokens"] == len(ids)


def test_the_same_alone_as_together(model: Llava, model_id: str, asked: Asked, together: list[str]) -> None:
    count = many(100, 40)
    assert answers(model, items_for(asked[:count], model_id), batch=1) == together[:count]


def test_long_answers_of_different_length_together(model: Llava, model_id: str) -> None:
    random_ = random.Random(3)
    items = []
    for number in range(24):
        scene = random_scene(random_, held_out=True)
        question = questions(scene, random_, len(KINDS))[number % 3]
        noise = NOISE * random_.randint(0, 12)
        items.append(ask(drawn(scene, number, model_id), noise + question.prompt))
    assert answers(model, items, batch=8) == answers(model, items, batch=1)


def test_half_precision_answers_the_same(model_id: str, asked: Asked, together: list[str]) -> None:
    some, exact = asked[:LESS_EXACT], together[:LESS_EXACT]
    found = answers(loaded(model_id, "bfloat16"), items_for(some, model_id))
    assert sum(text == other for text, other in zip(found, exact, strict=True)) >= min(
        0.99 * LESS_EXACT, LESS_EXACT - 1
    )
    assert right(found, some) >= right(exact, some) - max(0.005, 1 / LESS_EXACT)


@pytest.mark.parametrize("dtype", some_cases(["float32", "bfloat16"], 1))
def test_four_bits_see_as_well(model_id: str, asked: Asked, together: list[str], tmp_path: Path, dtype: str) -> None:
    folder = copied(MODELS[model_id], tmp_path / "weights")
    some, exact = asked[:LESS_EXACT], together[:LESS_EXACT]
    first = answers(loaded(model_id, dtype, folder, Quantization.FOUR), items_for(some, model_id))
    assert right(first, some) >= right(exact, some) - max(0.01, 1 / LESS_EXACT)
    assert any((folder / ".int4").iterdir()), "the copy is kept"
    again = loaded(model_id, dtype, folder, Quantization.FOUR)
    assert answers(again, items_for(some[:20], model_id)) == first[:20]


def test_bitsandbytes_leaves_alone_what_it_must(model_id: str, asked: Asked) -> None:
    """Its way for GPUs, on the CPU, where it is only slow."""
    from bitsandbytes.nn import Linear4bit
    from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

    from llm_vision.models.loading import bnb

    family = LlavaForConditionalGeneration if model_id == LLAVA_ID else LlavaNextForConditionalGeneration
    model = bnb.load(family, MODELS[model_id], "cpu", Quantization.FOUR)
    quantised = {name for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    assert len(quantised) == 7 * model.config.text_config.num_hidden_layers
    assert all(name.startswith("model.language_model.layers.") for name in quantised)
    config = model.config.quantization_config
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)


def test_what_is_streamed_is_the_answer(model: Llava, model_id: str, asked: Asked) -> None:
    for scene, _ in asked[:10]:
        item = ask(drawn(scene, 0, model_id), "What's in this image?")
        (result,) = model.predict([item])
        assert isinstance(result, dict)
        assert len(item.tokens) > 3
        assert "".join(item.tokens) == result["text"]


def test_it_knows_what_was_said_before(model: Llava, model_id: str) -> None:
    random_ = random.Random(8)
    items, wanted = [], []
    for number in range(many(100, 40)):
        scene = random_scene(random_, held_out=True)
        first, second = [one for one in questions(scene, random_, 6) if one.kind in EXACT_KINDS][:2]
        history = [user(first.prompt, 1), said("assistant", first.answer), user(second.prompt)]
        items.append(chat(history, drawn(scene, number, model_id)))
        wanted.append((scene, second))
    assert right(answers(model, items), wanted) >= 0.93


@pytest.mark.parametrize(
    "before", [said("system", "Answer briefly."), said("system", "You are a helpful assistant.")], ids=["brief", "long"]
)
def test_system_texts_do_not_confuse_it(model: Llava, model_id: str, asked: Asked, before: JsonObject) -> None:
    some = asked[: many(100, 40)]
    items = [
        chat([before, user(question.prompt, 1)], drawn(scene, at, model_id))
        for at, (scene, question) in enumerate(some)
    ]
    assert right(answers(model, items), some) >= 0.93


def test_a_long_irrelevant_prompt_does_not_confuse_it(model: Llava, model_id: str, asked: Asked) -> None:
    repeats = 40 if model_id == LLAVA_ID else 6
    some = asked[: many(60, 20)]
    items = [
        ask(drawn(scene, at, model_id), NOISE * repeats + question.prompt) for at, (scene, question) in enumerate(some)
    ]
    assert right(answers(model, items), some) >= 0.9


def test_it_answers_in_json(model: Llava, model_id: str) -> None:
    asked = list(held_out(many(100, 30), seed=9, kind="json"))
    found = answers(model, items_for(asked, model_id))
    assert [json.loads(text) for text in found]
    assert right(found, asked) >= 0.9


def test_it_stops_where_it_is_told(model: Llava, model_id: str, asked: Asked) -> None:
    scene, _ = asked[0]
    picture = drawn(scene, 0, model_id)
    (whole,) = model.predict([ask(picture, "What's in this image?")])
    assert isinstance(whole, dict)
    colour, shape = scene.things[0]
    item = ask(picture, "What's in this image?", stop=[f" {shape}", "never"])
    (cut,) = model.predict([item])
    assert isinstance(cut, dict)
    assert cut["text"] == whole["text"].partition(f" {shape}")[0] == f"A {colour}"
    assert cut["finish_reason"] == "stop"
    assert "".join(item.tokens) == cut["text"]


def test_it_says_when_it_was_cut_off(model: Llava, model_id: str, asked: Asked) -> None:
    item = ask(drawn(asked[0][0], 0, model_id), "What's in this image?", max_tokens=2)
    (cut,) = model.predict([item])
    assert isinstance(cut, dict)
    assert cut["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 2
    assert "".join(item.tokens) == cut["text"]


def test_a_seed_makes_chance_repeatable(model: Llava, model_id: str, asked: Asked) -> None:
    def texts(seed: int | None, temperature: float = 3.0) -> list[str]:
        items = items_for(asked[:12], model_id, temperature=temperature, seed=seed, max_tokens=12)
        return answers(model, items)

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert texts(1, temperature=1e-4) == texts(None, temperature=0.0)


def test_top_p_keeps_to_what_is_probable(model: Llava, model_id: str, asked: Asked) -> None:
    items = items_for(asked[:30], model_id, temperature=1.0, top_p=0.01, seed=3)
    assert answers(model, items) == answers(model, items_for(asked[:30], model_id))


def test_confidence_is_lower_where_chance_has_chosen(model: Llava, model_id: str, asked: Asked) -> None:
    def mean(**params: object) -> float:
        results = model.predict(items_for(asked[:8], model_id, **params))
        return sum(result["confidence"] for result in results if isinstance(result, dict)) / len(results)

    assert 0 < mean(temperature=4.0, seed=1, max_tokens=12) < 0.5 < mean() <= 1


@pytest.mark.parametrize("mark", ["<image>", "</s>", "<pad>", "<s>"])
def test_marks_in_a_prompt_are_only_text(model: Llava, model_id: str, asked: Asked, mark: str) -> None:
    scene, question = asked[0]
    (result,) = model.predict([ask(drawn(scene, 0, model_id), f"{mark} {question.prompt}")])
    assert isinstance(result, dict)
    assert result["text"] == question.answer


def test_a_prompt_that_is_too_long_fails_alone(model: Llava, model_id: str, asked: Asked) -> None:
    scene, question = asked[0]
    good = ask(drawn(scene, 0, model_id), question.prompt)
    long = ask(drawn(scene, 0, model_id), "word " * 5000)
    failed, result = model.predict([long, good])
    assert isinstance(failed, ContextLengthExceeded)
    assert isinstance(result, dict)
    assert result["text"] == question.answer


def test_an_answer_never_goes_beyond_what_the_model_can_read(model: Llava, model_id: str, asked: Asked) -> None:
    scene, _ = asked[0]
    item = ask(drawn(scene, 0, model_id), "ab " * 1950, temperature=5.0, seed=1, max_tokens=4000)
    (result,) = model.predict([item])
    assert isinstance(result, dict)
    assert result["usage"]["prompt_tokens"] + result["usage"]["completion_tokens"] <= 4096


def test_pictures_that_the_messages_do_not_mention_are_refused(model: Llava, asked: Asked) -> None:
    scene, _ = asked[0]
    (failed,) = model.predict([chat([user("What is it?")], scene.draw())])
    assert isinstance(failed, InvalidParameter)


def test_a_cancelled_request_leaves_the_batch(model: Llava, model_id: str, asked: Asked) -> None:
    class Leaving(PlainItem):
        def send_token(self, text: str, logprobs: Sequence[JsonObject] = ()) -> None:
            super().send_token(text, logprobs)
            self.cancelled = True

    scene, _ = asked[0]
    stay = ask(drawn(scene, 0, model_id), "What's in this image?")
    template = ask(drawn(scene, 0, model_id), "What's in this image?")
    leave = Leaving([Image.fromarray(picture) for picture in template.images], template.params)
    left, stayed = model.predict([leave, stay])
    assert len(leave.tokens) == 1
    assert isinstance(left, ClientClosed)
    assert isinstance(stayed, dict)
    assert stayed["text"] == "".join(stay.tokens)


def test_a_request_that_was_cancelled_before_is_not_read(model: Llava, model_id: str, asked: Asked) -> None:
    scene, question = asked[0]
    left, stays = (ask(drawn(scene, 0, model_id), question.prompt) for _ in range(2))
    left.cancelled = True
    gone, result = model.predict([left, stays])
    assert isinstance(gone, ClientClosed)
    assert not left.tokens
    assert isinstance(result, dict)
    assert result["text"] == question.answer


def test_a_checkpoint_of_the_authors_is_refused_with_the_right_name(tmp_path: Path) -> None:
    folder = tmp_path / "llava"
    shutil.copytree(LLAVA, folder)
    config = json.loads((folder / "config.json").read_text())
    for change in ({"mm_vision_tower": "openai/clip"}, {"architectures": ["LlavaLlamaForCausalLM"]}):
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(UnusableWeights, match=re.escape(LLAVA_ID)):
            loaded(LLAVA_ID, "float32", folder)


def test_a_checkpoint_of_another_kind_is_refused() -> None:
    with pytest.raises(UnusableWeights, match=re.escape(LLAVA_NEXT_ID)):
        loaded(LLAVA_NEXT_ID, "float32", LLAVA)


def test_a_checkpoint_without_a_template_uses_that_of_its_family(tmp_path: Path, asked: Asked) -> None:
    folder = tmp_path / "llava"
    shutil.copytree(LLAVA, folder)
    (folder / "chat_template.jinja").unlink()
    model = loaded(LLAVA_ID, "float32", folder)
    assert right(answers(model, items_for(asked[:50], LLAVA_ID)), asked[:50]) >= 0.93


def test_the_picture_is_looked_at(model: Llava, model_id: str) -> None:
    blank = Image.new("RGB", (64, 64), "white")
    red = Image.new("RGB", (64, 64), "white")
    red.paste((214, 40, 40), (8, 8, 28, 28))
    found = answers(model, [ask(red, "What color is the square?"), ask(blank, "What color is the square?")])
    assert found[0] == "red"
