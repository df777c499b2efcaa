"""The tiny trained BLIP: it captions as Transformers does, alone and in batches, and refuses damaged files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.captions import caption_of, one_shape
from fixtures.damages import Damage, damages_of
from fixtures.items import items_of
from fixtures.number_format import number_format
from fixtures.shapes import Scene
from fixtures.tiny_models import BLIP, MANGA_OCR
from llm_vision.models.base import JsonObject, LoadContext, UnusableWeights
from llm_vision.models.families.blip import MAX_TOKENS, Blip

COUNT = 60


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    chance = random.Random(1)
    return [one_shape(chance, held_out=True) for _ in range(COUNT)]


@pytest.fixture(scope="module")
def pictures(scenes: list[Scene]) -> list[Image.Image]:
    return [scene.draw(64 + number) for number, scene in enumerate(scenes)]


@pytest.fixture(scope="module")
def noise() -> list[Image.Image]:
    """Pictures of nothing, of which the model is not sure."""
    chance = np.random.default_rng(5)
    return [Image.fromarray(chance.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(8)]


def loaded(folder: Path, dtype: str = "float32") -> Blip:

    model = Blip()
    with number_format(dtype):
        model.load(LoadContext("cpu", 1, folder))
    model.threads = 1  # of a tiny model: more would only wait for each other
    return model


@pytest.fixture(scope="module")
def model() -> Blip:
    return loaded(BLIP)


def captions(model: Blip, pictures: Sequence[Image.Image], batch: int = 8) -> list[JsonObject]:
    found: list[Any] = []
    for start in range(0, len(pictures), batch):
        found += model.predict(items_of(pictures[start : start + batch]))
    return found


def texts(results: Sequence[JsonObject]) -> list[str]:
    return [result["text"] for result in results]


@pytest.fixture(scope="module")
def found(model: Blip, pictures: list[Image.Image]) -> list[JsonObject]:
    return captions(model, pictures)


def plain(folder: Path, pictures: Sequence[Image.Image], **options: Any) -> tuple[list[str], Any, Any]:
    """Texts of Transformers' own class and processor, its model, and what it generated."""
    from transformers import BertTokenizer, BlipForConditionalGeneration, BlipImageProcessorPil, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    processor = BlipProcessor(BlipImageProcessorPil.from_pretrained(folder), BertTokenizer.from_pretrained(folder))
    inputs = processor(images=list(pictures), return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=MAX_TOKENS, return_dict_in_generate=True, **options)
    return [processor.decode(ids, skip_special_tokens=True) for ids in output.sequences], model, output


def test_it_names_what_it_has_never_seen(scenes: list[Scene], found: list[JsonObject]) -> None:
    right = [text == caption_of(scene) for text, scene in zip(texts(found), scenes, strict=True)]
    assert np.mean(right) >= 0.95
    assert np.median([result["confidence"] for result in found]) > 0.9


def test_every_caption_is_that_of_transformers(
    model: Blip, pictures: list[Image.Image], noise: list[Image.Image], found: list[JsonObject]
) -> None:
    assert texts(found) == plain(BLIP, pictures)[0]
    assert texts(captions(model, noise)) == plain(BLIP, noise)[0]


def test_confidences_are_the_means_of_what_transformers_thought(model: Blip, noise: list[Image.Image]) -> None:
    _, reference, output = plain(BLIP, noise, output_scores=True)
    scores = reference.text_decoder.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
    for result, of_tokens, ids in zip(captions(model, noise), scores, output.sequences[:, 1:], strict=True):
        said = of_tokens[ids != 0]  # padding stands behind the end
        assert result["confidence"] == pytest.approx(float(said.mean().exp()), abs=1e-4)


def test_batches_caption_as_single_pictures_do(
    model: Blip, pictures: list[Image.Image], found: list[JsonObject]
) -> None:
    alone = captions(model, pictures, 1)
    assert texts(alone) == texts(found)
    for one, other in zip(alone, found, strict=True):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-4)


def test_beams_are_those_of_the_checkpoint(model: Blip, tmp_path: Path, noise: list[Image.Image]) -> None:
    folder = copy_of_blip(tmp_path)
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**config, "num_beams": 4}))
    with_beams = texts(captions(loaded(folder), noise))
    assert with_beams == plain(BLIP, noise, num_beams=4)[0]
    assert with_beams != texts(captions(model, noise))


def test_bf16_says_the_same(pictures: list[Image.Image], found: list[JsonObject]) -> None:
    half = texts(captions(loaded(BLIP, "bfloat16"), pictures))
    assert np.mean([one == other for one, other in zip(half, texts(found), strict=True)]) >= 0.95


def test_an_old_pickled_checkpoint_says_the_same(
    tmp_path: Path, pictures: list[Image.Image], found: list[JsonObject]
) -> None:
    """Old versions of Transformers wrote every name of a tied tensor, and positions that are computed now."""
    import torch
    from transformers import BlipForConditionalGeneration

    folder = copy_of_blip(tmp_path)
    tensors = BlipForConditionalGeneration.from_pretrained(folder).state_dict()
    positions = {"text_decoder.bert.embeddings.position_ids": torch.arange(64)[None]}
    torch.save({**tensors, **positions}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert texts(captions(loaded(folder), pictures)) == texts(found)


def test_pictures_that_nobody_waits_for_end_early(model: Blip, pictures: list[Image.Image]) -> None:
    items = items_of(pictures[:2])
    for item in items:
        item.cancelled = True
    assert all(len(result["text"].split()) <= 1 for result in model.predict(items))  # type: ignore[index]


def test_one_that_leaves_does_not_end_the_others(
    model: Blip, pictures: list[Image.Image], found: list[JsonObject]
) -> None:
    items = items_of(pictures[:8])
    items[0].cancelled = True
    assert texts(model.predict(items))[1:] == texts(found[1:8])  # type: ignore[arg-type]


def copy_of_blip(folder: Path) -> Path:
    return Path(shutil.copytree(BLIP, folder / "copy"))


def of_another_model(folder: Path) -> None:
    shutil.copy(MANGA_OCR / "model.safetensors", folder)


def smaller_pictures(folder: Path) -> None:
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "size": {"height": 24, "width": 24}}))


NAME = "text_decoder.cls.predictions.transform.dense.weight"
DAMAGES: dict[str, Damage] = {
    **damages_of(NAME, "vision_config"),
    "weights of another model": of_another_model,
    "no words": lambda folder: (folder / "vocab.txt").unlink(),
    "other words": lambda folder: (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"),
    "pictures of another size": smaller_pictures,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_refused(tmp_path: Path, damage: Damage) -> None:
    copy = copy_of_blip(tmp_path)
    damage(copy)
    with pytest.raises(UnusableWeights):
        loaded(copy)
