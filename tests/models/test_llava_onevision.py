"""LLaVA-OneVision, built small with random weights: one picture in tiles, several as wholes, as plain Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures.chats import chat, user
from fixtures.counts import THREADS
from fixtures.items import PlainItem
from fixtures.number_format import number_format
from fixtures.shapes import held_out
from fixtures.tiny_models import LLAVA
from llm_vision.models.base import LoadContext
from llm_vision.models.decoding.text import TextStream
from llm_vision.models.families.vlm.llava import CHATML, IMAGE, Llava
from llm_vision.models.families.vlm.prompt import PromptWriter

ONEVISION_ID = "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
SIDE, PATCH = 28, 14
GRIDS = [[28, 56], [56, 28], [56, 56]]
IMAGE_TOKEN = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the real format: SigLIP, Qwen2 with tied embeddings, the tokenizer of the tiny LLaVA."""
    import torch
    from transformers import (
        AutoTokenizer,
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
        Qwen2Config,
        SiglipVisionConfig,
    )

    torch.manual_seed(3)
    made = tmp_path_factory.mktemp("onevision")
    tokenizer = AutoTokenizer.from_pretrained(LLAVA)
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
        patch_size=PATCH, vision_use_head=False,
    )  # fmt: skip
    text = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, eos_token_id=2, bos_token_id=1,
    )  # fmt: skip
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE_TOKEN, video_token_id=0,
        image_grid_pinpoints=GRIDS, vision_feature_layer=-1, vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )  # fmt: skip
    model = LlavaOnevisionForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.data *= 3  # so that what is answered depends on the picture
    model.save_pretrained(made)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(made)
    LlavaOnevisionImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=GRIDS).save_pretrained(
        made
    )
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> Llava:

    found = Llava()
    with number_format("float32"):
        found.load(LoadContext("cpu", THREADS, folder, model_id=ONEVISION_ID))
    return found


def pictures(count: int, sizes: Sequence[tuple[int, int]] = ((60, 40), (40, 60), (50, 50))) -> list[Image.Image]:
    return [scene.draw(*sizes[at % 3]) for at, (scene, _) in enumerate(held_out(count, seed=41))]


def asked(number: int, count: int) -> PlainItem:
    return chat([user("Which is it?", count)], *pictures(number + count)[number:], max_tokens=12)


def plain_answer(folder: Path, item: PlainItem) -> list[int]:
    """Token ids of Transformers' own `generate`, its inputs put together by hand."""
    import torch
    from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration, LlavaOnevisionImageProcessorPil

    plain = LlavaOnevisionForConditionalGeneration.from_pretrained(folder).eval()
    seen = LlavaOnevisionImageProcessorPil.from_pretrained(folder)([list(item.images)], return_tensors="pt")
    features = plain.get_image_features(**seen).pooler_output
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = PromptWriter(tokenizer, CHATML, IMAGE).write(item.params["messages"])
    for feature in features:
        text = text.replace("<image>", "\0" * len(feature), 1)
    ids = tokenizer(text.replace("\0", "<image>"), return_tensors="pt").input_ids
    output = plain.generate(input_ids=ids, **seen, max_new_tokens=item.params["max_tokens"], do_sample=False)
    found: list[int] = output[0, ids.shape[1] :].tolist()
    assert torch.equal(output[0, : ids.shape[1]], ids[0])
    return found


def as_streamed(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, which at random are not always whole characters."""
    stream = TextStream(tokenizer.backend_tokenizer, [])
    for token in ids:
        stream.add(token)
    stream.end()
    return stream.text


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_same_tokens_as_plain_transformers(model: Llava, folder: Path, count: int) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    texts = set()
    for number in range(4):
        item = asked(number, count)
        (result,) = model.predict([item])
        assert isinstance(result, dict), result
        ids = plain_answer(folder, item)
        assert result["text"] == as_streamed(tokenizer, ids)
        assert result["usage"]["completion_tokens"] == len(ids)
        texts.add(result["text"])
    assert len(texts) > 1, "the pictures make a difference"


def test_the_same_alone_as_together(model: Llava) -> None:
    items = [asked(number, count) for number, count in enumerate((1, 2, 3, 1, 2))]
    together = [result["text"] for result in model.predict(items) if isinstance(result, dict)]
    alone = [result["text"] for item in items for result in model.predict([item]) if isinstance(result, dict)]
    assert together == alone
