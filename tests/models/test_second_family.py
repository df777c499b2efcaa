"""A family that LLaVA knows nothing of, on the neutral vision-language model: the same tokens as plain Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fixtures.chats import chat, said, user
from fixtures.items import PlainItem
from fixtures.number_format import number_format
from fixtures.processes import grammar_servers
from fixtures.qwen_vl import QwenVl
from fixtures.shapes import held_out
from fixtures.stepped import served
from fixtures.tiny_models import LLAVA
from fixtures.waiting import eventually
from llm_vision.models.base import JsonObject, LoadContext, Quantization, UnusableWeights
from llm_vision.models.decoding.language_model import LanguageModel
from llm_vision.models.decoding.text import TextStream
from llm_vision.models.families.vlm.prompt import PromptWriter

MODEL_ID = QwenVl.variants[0].repo
SIZES = ((60, 40), (30, 90), (84, 84), (120, 56))
MARKS = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|im_start|>", "<|im_end|>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Qwen2-VL with random weights."""
    from transformers import (
        AutoTokenizer,
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessorPil,
    )

    torch.manual_seed(5)
    made = tmp_path_factory.mktemp("qwen")
    tokenizer: Any = AutoTokenizer.from_pretrained(LLAVA)
    tokenizer.chat_template = None
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 128, "num_heads": 2, "mlp_ratio": 2}
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024, "bos_token_id": 1,
        "eos_token_id": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
    }  # fmt: skip
    config = Qwen2VLConfig(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>")
    )
    model = Qwen2VLForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.data *= 3  # so that what is answered depends on the picture, and on where it stands
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}).save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> QwenVl:
    return loaded(folder)


def loaded(folder: Path, bits: Quantization = Quantization.NONE) -> QwenVl:
    made = QwenVl()
    with number_format("float32"):
        made.load(LoadContext("cpu", 2, folder, bits, MODEL_ID))
    return made


@pytest.fixture(scope="module")
def plain(folder: Path) -> Any:
    """Transformers' own, with the same weights."""
    from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

    class Plain:
        model = Qwen2VLForConditionalGeneration.from_pretrained(folder).eval()
        processor = Qwen2VLImageProcessorPil.from_pretrained(folder)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)

        def inputs(self, item: PlainItem) -> dict[str, Any]:
            """What the model takes, put together by hand."""
            writer = PromptWriter(self.tokenizer, QwenVl.variants[0].template, "<|image_pad|>")
            text = writer.write(item.params["messages"])
            seen: dict[str, Any] = {}
            if item.images:
                seen = dict(self.processor(list(item.images), return_tensors="pt"))
                for grid in seen["image_grid_thw"]:
                    text = text.replace("<|image_pad|>", "\0" * int(grid.prod() // 4), 1)
            ids = self.tokenizer(text.replace("\0", "<|image_pad|>"), return_tensors="pt").input_ids
            if seen:
                seen["mm_token_type_ids"] = (ids == self.model.config.image_token_id).int()
            return {"input_ids": ids, **seen}

        def answer(self, item: PlainItem) -> str:
            """What `generate` says."""
            inputs = self.inputs(item)
            output = self.model.generate(
                **inputs, max_new_tokens=item.params["max_tokens"], do_sample=False, pad_token_id=0
            )
            return as_streamed(self.tokenizer, output[0, inputs["input_ids"].shape[1] :].tolist())

        @torch.inference_mode()
        def probability(self, item: PlainItem, answer: str) -> float:
            """Of an answer's tokens, behind the prompt."""
            inputs = self.inputs(item)
            said = self.tokenizer(answer, add_special_tokens=False, return_tensors="pt").input_ids
            inputs["input_ids"] = torch.cat([inputs["input_ids"], said], dim=1)
            if item.images:
                inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, said.shape[1]))
            shares = self.model(**inputs).logits[0, -said.shape[1] - 1 : -1].softmax(-1)
            return float(shares.gather(1, said.T).prod())

    return Plain()


def as_streamed(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, which at random are not always whole characters."""
    stream = TextStream(tokenizer.backend_tokenizer, [])
    for token in ids:
        stream.add(token)
    stream.end()
    return stream.text


def pictures(number: int, count: int) -> list[Image.Image]:
    return [
        scene.draw(*SIZES[(number + at) % len(SIZES)])
        for at, (scene, _) in enumerate(held_out(count, seed=60 + number))
    ]


def asked(number: int, count: int, question: str = "Which is it?", **params: object) -> PlainItem:
    return chat([user(question, count)], *pictures(number, count), **{"max_tokens": 16, **params})


def answers(model: QwenVl, items: Sequence[PlainItem]) -> list[str]:
    results = model.predict(items)
    assert all(isinstance(result, dict) for result in results), results
    return [result["text"] for result in results if isinstance(result, dict)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_another_family_says_the_same_as_plain_transformers(model: QwenVl, plain: Any, count: int) -> None:
    items = [asked(number, count, f"Which is number {number}?") for number in range(4)]
    texts = [answers(model, [item])[0] for item in items]
    assert texts == [plain.answer(item) for item in items]
    assert len(set(texts)) > 1, "the question makes a difference"


def test_positions_are_those_of_transformers(model: QwenVl, plain: Any) -> None:
    network = plain.model.model
    grids = torch.tensor([[1, 4, 6], [1, 2, 8], [1, 6, 2]])
    kinds = torch.tensor([[0, 0, *[1] * 6, 0, *[1] * 4, 0, 0, 0, *[1] * 3, 0]])
    expected, shift = network.get_rope_index(kinds, kinds, image_grid_thw=grids)
    found = model.positions([(), (), (2, 3), (), (1, 4), (), (), (), (3, 1), ()])
    assert torch.equal(found, expected)
    assert int(found.max()) + 1 - found.shape[-1] == int(shift)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each step was for."""
    seen: list[int] = []
    step = LanguageModel.step

    def counted(self: LanguageModel, tokens: torch.Tensor, *inputs: Any) -> torch.Tensor:
        seen.append(len(tokens))
        return step(self, tokens, *inputs)

    monkeypatch.setattr(LanguageModel, "step", counted)
    return seen


def test_requests_of_another_family_that_join_later_are_answered_as_alone(
    model: QwenVl, plain: Any, rows: list[int]
) -> None:
    """Of different length, with different pictures, so that all but one are padded."""
    first, second, third = asked(0, 2), asked(1, 0, "Why? " * 30), asked(2, 1, "What?")
    ended: dict[int, JsonObject] = {}

    def step() -> None:
        for item, outcome in model.step():
            assert isinstance(outcome, dict), outcome
            ended[id(item)] = outcome

    model.let_go()
    for item in (first, second, third):
        model.join(item)
        for _ in range(4):
            step()
    while len(ended) < 3:
        step()
    assert max(rows) == 3
    texts = [ended[id(item)]["text"] for item in (first, second, third)]
    assert texts == [plain.answer(item) for item in (first, second, third)]


def test_the_second_question_to_another_family_reuses_the_first(model: QwenVl, plain: Any) -> None:
    model.let_go()
    seen = pictures(3, 2)
    first = chat([user("Which is it?", 2)], *seen, max_tokens=16)
    (told,) = answers(model, [first])
    turns = [user("Which is it?", 2), said("assistant", told), user("And why?")]
    second = chat(turns, *seen, max_tokens=16)
    (result,) = model.predict([second])
    assert isinstance(result, dict)
    assert result["usage"]["reused_tokens"] > 20
    assert result["text"] == plain.answer(second)


def test_memory_that_runs_out_changes_no_answer_of_another_family(
    model: QwenVl, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = LanguageModel.step

    def short(self: LanguageModel, tokens: torch.Tensor, *inputs: Any) -> torch.Tensor:
        if len(tokens) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(self, tokens, *inputs)

    monkeypatch.setattr(LanguageModel, "step", short)
    items = [asked(number, number) for number in range(3)]
    assert [end["result"]["text"] for end in served(model, items)] == [plain.answer(item) for item in items]


def test_another_family_decides_as_probably_as_plain_transformers(model: QwenVl, plain: Any) -> None:
    choices = ["12 of 34", "34 of 56", "78"]
    item = asked(1, 2, choices=choices)
    (decided,) = model.predict([item])
    assert isinstance(decided, dict), decided
    weights = [plain.probability(item, text) + plain.probability(item, f" {text}") for text in choices]
    wanted = [weight / sum(weights) for weight in weights]
    assert list(decided["probabilities"].values()) == pytest.approx(wanted, rel=1e-3)


def test_another_family_writes_json(model: QwenVl) -> None:
    with ThreadPoolExecutor(1) as thread:  # the process that follows the schema ends with it
        (written,) = thread.submit(model.predict, [asked(0, 1, format={"type": "json_object"})]).result()
    assert isinstance(written, dict), written
    assert written["text"].startswith("{")
    eventually(lambda: not grammar_servers())


def test_another_family_in_four_bits(folder: Path) -> None:
    from llm_vision.models.loading.int4.linear import Int4Linear

    model = loaded(folder, Quantization.FOUR)
    small = {name for name, module in model.network.named_modules() if isinstance(module, Int4Linear)}
    assert len(small) == 2 * 7
    assert all(name.startswith("model.language_model.layers.") for name in small)
    assert all(answers(model, [asked(0, count)]) for count in range(3))


def test_a_checkpoint_of_one_family_is_refused_by_another() -> None:
    with pytest.raises(UnusableWeights, match=MODEL_ID):
        loaded(LLAVA)
