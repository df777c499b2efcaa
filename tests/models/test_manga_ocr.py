"""The tiny trained MangaOCR: it reads, as the `manga_ocr` package does, alone and in batches, in fp32 and bf16."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fixtures.counts import THREADS, many
from fixtures.items import PlainItem, items_of
from fixtures.japanese_crops import Crop, crops
from fixtures.number_format import number_format
from fixtures.stepped import served
from fixtures.tiny_models import MANGA_OCR, copied
from llm_vision.errors import ClientClosed
from llm_vision.models.base import JsonObject, LoadContext, Quantization
from llm_vision.models.families.manga_ocr.model import INVENTED, NO_END, REPEATED, MangaOcr, judge, repeats_itself
from llm_vision.models.tasks.reading import ReadCrop, ReadCrops

COUNT = many(500, 120)
CROP = ReadCrop("ja").as_json()


@pytest.fixture(scope="module")
def held_out() -> list[Crop]:
    return list(crops(COUNT, seed=7))


def loaded(dtype: str, folder: Path = MANGA_OCR, bits: Quantization = Quantization.NONE) -> MangaOcr:
    model = MangaOcr()
    with number_format(dtype):
        model.load(LoadContext("cpu", THREADS, folder, bits))
    model.threads = THREADS
    return model


@pytest.fixture(scope="module")
def exact() -> MangaOcr:
    return loaded("float32")


def read(model: MangaOcr, pictures: Sequence[Image.Image], batch: int) -> list[JsonObject]:
    found: list[Any] = []
    for start in range(0, len(pictures), batch):
        found += model.predict(items_of(pictures[start : start + batch], **CROP))
    return found


def texts(results: Sequence[JsonObject]) -> list[str]:
    return [result["text"] for result in results]


@pytest.fixture(scope="module")
def batched(exact: MangaOcr, held_out: list[Crop]) -> list[JsonObject]:
    return read(exact, [crop.picture for crop in held_out], 16)


def accuracy(found: Sequence[str], held_out: Sequence[Crop]) -> float:
    return float(np.mean([text == as_written(crop.text) for text, crop in zip(found, held_out, strict=True)]))


def as_written(text: str) -> str:
    from manga_ocr.ocr import post_process

    return str(post_process(text))


def test_it_reads_what_it_has_never_seen(batched: list[JsonObject], held_out: list[Crop]) -> None:
    assert accuracy(texts(batched), held_out) >= 0.95
    for font in {crop.font for crop in held_out}:
        for vertical in (True, False):
            some = [(found, crop) for found, crop in zip(texts(batched), held_out, strict=True)
                    if (crop.font, crop.vertical) == (font, vertical)]  # fmt: skip
            assert accuracy([found for found, _ in some], [crop for _, crop in some]) >= 0.9


@pytest.fixture(scope="module")
def package() -> Any:
    from manga_ocr import MangaOcr as Package

    return Package(str(MANGA_OCR), force_cpu=True)


def test_every_text_is_that_of_the_package(package: Any, batched: list[JsonObject], held_out: list[Crop]) -> None:
    assert texts(batched) == [package(crop.picture) for crop in held_out]


def test_batches_read_as_single_crops_do(exact: MangaOcr, batched: list[JsonObject], held_out: list[Crop]) -> None:
    alone = read(exact, [crop.picture for crop in held_out], 1)
    assert texts(alone) == texts(batched)
    differences = [abs(one["confidence"] - other["confidence"]) for one, other in zip(alone, batched, strict=True)]
    assert max(differences) < 1e-3


def test_bf16_reads_the_same(batched: list[JsonObject], held_out: list[Crop]) -> None:
    assert_reads_the_same(loaded("bfloat16"), batched, held_out)


def test_four_bits_read_the_same_also_from_their_copy(
    batched: list[JsonObject], held_out: list[Crop], tmp_path: Path
) -> None:
    folder, count = copied(MANGA_OCR, tmp_path / "weights"), many(COUNT, 60)
    for _ in range(2):
        assert_reads_the_same(loaded("bfloat16", folder, Quantization.FOUR), batched[:count], held_out[:count])
        assert list((folder / ".int4").glob("*.safetensors"))


def assert_reads_the_same(model: MangaOcr, batched: Sequence[JsonObject], held_out: Sequence[Crop]) -> None:
    found = texts(read(model, [crop.picture for crop in held_out], 16))
    same = np.mean([one == other for one, other in zip(found, texts(batched), strict=True)])
    assert same >= 0.99
    assert accuracy(found, held_out) >= accuracy(texts(batched), held_out) - 0.005


def test_right_texts_are_surer_than_wrong_ones(batched: list[JsonObject], held_out: list[Crop]) -> None:
    right = [found["confidence"] for found, crop in zip(batched, held_out, strict=True)
             if found["text"] == as_written(crop.text)]  # fmt: skip
    wrong = [found["confidence"] for found, crop in zip(batched, held_out, strict=True)
             if found["text"] != as_written(crop.text)]  # fmt: skip
    assert np.median(right) > 0.9
    assert not wrong or np.median(wrong) < np.median(right)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_blank_crop_has_no_text(exact: MangaOcr, shade: int) -> None:
    (found,) = read(exact, [Image.new("RGB", (60, 90), (shade,) * 3)], 1)
    assert (found["text"], found["confidence"]) == ("", None)


def test_a_blank_crop_among_others_shifts_no_answer(exact: MangaOcr, held_out: list[Crop]) -> None:
    blank = Image.new("RGB", (50, 50), "white")
    found = read(exact, [held_out[0].picture, blank, held_out[1].picture], 3)
    alone = read(exact, [held_out[0].picture, held_out[1].picture], 1)
    assert texts(found) == [alone[0]["text"], "", alone[1]["text"]]


def test_the_crops_of_a_page_come_as_one_request(
    exact: MangaOcr, batched: list[JsonObject], held_out: list[Crop]
) -> None:
    blank = Image.new("RGB", (50, 50), "white")
    pictures = [*(crop.picture for crop in held_out[:20]), blank, held_out[20].picture]
    page = PlainItem(pictures, ReadCrops("ja").as_json())
    (alone,) = items_of([held_out[21].picture], **CROP)
    first, second = exact.predict([page, alone])
    assert not isinstance(first, Exception)
    assert texts(first["readings"]) == [*texts(batched[:20]), "", batched[20]["text"]]
    assert second["text"] == batched[21]["text"]  # type: ignore[index]


def test_a_text_that_does_not_end_is_never_sure() -> None:
    found = judge("あいう", 0.99, has_end=False)
    assert (found.confidence, found.notice) == (INVENTED, NO_END)


@pytest.mark.parametrize("text", ["は" * 7, "それで" * 6, "え" + "あい" * 6])
def test_a_text_that_repeats_itself_is_never_sure(text: str) -> None:
    assert judge(text, 0.99, has_end=True).notice == REPEATED


@pytest.mark.parametrize("text", ["......", "うおお" + "ー" * 6, "", "はははは", "あいうえおかきくけこ", "！" * 8])
def test_long_sounds_are_no_repetition(text: str) -> None:
    assert not repeats_itself(text)


def test_a_crop_that_nobody_waits_for_ends_early(exact: MangaOcr) -> None:
    noise = Image.effect_noise((200, 200), 120).convert("RGB")
    (item,) = items_of([noise], **CROP)
    item.cancelled = True
    (found,) = exact.predict([item])
    assert isinstance(found, ClientClosed)


class LeavesMeanwhile(PlainItem):
    """Nobody waits for it any more once its text has begun."""

    looks = 0

    @property  # type: ignore[override]
    def cancelled(self) -> bool:
        self.looks += 1
        return self.looks > 3


def test_who_leaves_does_not_cut_the_texts_beside_it(
    exact: MangaOcr, batched: list[JsonObject], held_out: list[Crop]
) -> None:
    leaves = LeavesMeanwhile([Image.effect_noise((200, 200), 120).convert("RGB")], CROP)
    stays = items_of([crop.picture for crop in held_out[:3]], **CROP)
    gone, *found = exact.predict([leaves, *stays])
    assert isinstance(gone, ClientClosed)
    assert texts(found) == texts(batched[:3])  # type: ignore[arg-type]


def test_a_page_of_many_crops_lets_other_clients_in_between(exact: MangaOcr, held_out: list[Crop]) -> None:
    page = PlainItem([crop.picture for crop in held_out[:48]], ReadCrops("ja").as_json())
    (crop,) = items_of([held_out[48].picture], **CROP)
    page.client, crop.client = "page", "crop"
    exact.join(page)
    assert exact.step() == []
    exact.join(crop)
    ((ended, _),) = exact.step()
    assert ended is crop
    while not (left := exact.step()):
        pass
    assert [item for item, _ in left] == [page]


def test_crops_that_do_not_fit_together_are_read_one_after_the_other(
    exact: MangaOcr, batched: list[JsonObject], held_out: list[Crop], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_together, sizes = exact._read, []

    def read_few(crops: Sequence[Any]) -> Any:
        sizes.append(len(crops))
        if len(crops) > 2:
            raise MemoryError
        return read_together(crops)

    monkeypatch.setattr(exact, "_read", read_few)
    ends = served(exact, items_of([crop.picture for crop in held_out[:4]], **CROP))
    assert [end["result"]["text"] for end in ends] == texts(batched[:4])
    assert max(sizes[-2:]) <= 2


def test_sizes_and_shapes_do_not_matter(exact: MangaOcr, held_out: list[Crop]) -> None:
    chosen = random.Random(1).sample(held_out, 30)
    larger = [crop.picture.resize((crop.picture.width * 3, crop.picture.height * 3)) for crop in chosen]
    assert accuracy(texts(read(exact, larger, 10)), chosen) >= 0.9
