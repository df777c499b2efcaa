"""What every registered model must do in its worker: answer in the shapes of its tasks, alone and in batches."""

from __future__ import annotations

import asyncio
import importlib
import random
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from fixtures.captions import one_shape
from fixtures.chats import ask
from fixtures.counts import THREADS, many
from fixtures.drawing import sample_bubbles
from fixtures.japanese_crops import crops
from fixtures.pixels import raw_image
from fixtures.shapes import held_out
from fixtures.tiny_models import OF_MODEL, copied
from llm_vision.errors import InferenceFailed, InvalidParameter
from llm_vision.metrics import Metrics
from llm_vision.models.base import JsonObject, SteppedModel, Task
from llm_vision.models.families.upstream.model import entry_of
from llm_vision.models.registry import Catalog, CatalogEntry
from llm_vision.runtime.placement.placements import Placement, Placements
from llm_vision.runtime.work import WorkRequest
from llm_vision.runtime.worker.limits import WorkerLimits
from llm_vision.runtime.worker.owner import Owner
from llm_vision.runtime.worker.process import Launch
from llm_vision.runtime.worker.shared import CoreShare, Shared
from llm_vision.runtime.worker.worker import Worker

CATALOG = Catalog.discover()
PARAMS: dict[Task, JsonObject] = {
    Task.OCR: {"language": "ja", "furigana": "strip"},
    Task.CLASSIFY: {},
    Task.CAPTION: {},
    Task.CHAT: ask(Image.new("RGB", (8, 8)), "How many shapes are there?").params,
}
TESTABLE = [id_ for id_, entry in CATALOG.items() if entry.spec.weights is None or id_ in OF_MODEL]
ONE_OF_EACH_FAMILY = {CATALOG[id_].class_path: id_ for id_ in TESTABLE}
TESTED = many(TESTABLE, list(ONE_OF_EACH_FAMILY.values()))


@pytest.fixture(scope="module", params=TESTED)
async def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    entry = CATALOG[request.param]
    folder = copied(OF_MODEL[request.param], tmp_path_factory.mktemp("weights")) if entry.spec.weights else None
    launch = Launch(entry.spec.model_id, entry.class_path, threads=THREADS, weights_root=folder)
    limits = WorkerLimits(max_batch=entry.spec.max_batch, is_stepped=entry.spec.is_stepped)
    started = Worker(launch, Placements((Placement("cpu"),)), limits, Shared(Metrics(), CoreShare(THREADS)), Owner())
    await started.start()
    yield started
    await started.stop()


@pytest.mark.parametrize("entry", [*CATALOG.values(), entry_of("there", "http://localhost/v1", "llava", None)],
                         ids=lambda entry: entry.spec.model_id)  # fmt: skip
def test_a_spec_says_whether_requests_join_between_steps(entry: CatalogEntry) -> None:
    module, name = entry.class_path.split(":")
    assert entry.spec.is_stepped == issubclass(getattr(importlib.import_module(module), name), SteppedModel)


def requests_for(worker: Worker, count: int) -> list[tuple[Task, WorkRequest]]:
    tasks = CATALOG[worker.model_id].spec.tasks
    pictures = [raw_image(picture) for picture in pictures_for(worker, count)]
    return [(task, WorkRequest(PARAMS[task], (picture,))) for task in sorted(tasks) for picture in pictures]


def pictures_for(worker: Worker, count: int) -> list[Image.Image]:
    """Drawn crops; for a tiny trained model such as it can read, since its guesses at others hang by a rounding."""
    if Task.CAPTION in CATALOG[worker.model_id].spec.tasks:
        chance = random.Random(7)
        return [one_shape(chance, held_out=True).draw() for _ in range(count)]
    if Task.CHAT in CATALOG[worker.model_id].spec.tasks:
        return [scene.draw() for scene, _ in held_out(count, seed=7)]
    if worker.model_id in OF_MODEL:
        return [crop.picture for crop in crops(count, seed=7)]
    return [picture for picture, _, _ in sample_bubbles(count)]


def check_ocr(result: JsonObject) -> None:
    assert isinstance(result["text"], str)
    assert result["confidence"] is None if not result["text"] else 0 <= result["confidence"] <= 1
    for line in result["lines"]:
        assert len(line["polygon"]) == 4
        assert 0 <= line["confidence"] <= 1
        assert isinstance(line["vertical"], bool)


def check_classes(result: JsonObject) -> None:
    confidences = [label["confidence"] for label in result["labels"]]
    assert confidences == sorted(confidences, reverse=True)
    assert 0 < sum(confidences) <= 1.001
    assert all(label["label"] for label in result["labels"])


def check_caption(result: JsonObject) -> None:
    assert result.keys() == {"text", "confidence"}
    assert result["text"] == result["text"].strip()
    assert result["confidence"] is None if not result["text"] else 0 <= result["confidence"] <= 1


def check_chat(result: JsonObject) -> None:
    assert result.keys() == {"text", "confidence", "finish_reason", "usage"}
    assert result["text"] == result["text"].strip()
    assert 0 <= result["confidence"] <= 1
    assert result["finish_reason"] in ("stop", "length")
    assert result["usage"].keys() - {"reused_tokens"} == {"prompt_tokens", "completion_tokens"}


CHECKS = {Task.OCR: check_ocr, Task.CLASSIFY: check_classes, Task.CAPTION: check_caption, Task.CHAT: check_chat}


async def test_every_family_is_tested() -> None:
    """A model without a tiny one is a variant of a family that has one."""
    assert {CATALOG[id_].class_path for id_ in TESTED} == {entry.class_path for entry in CATALOG.values()}


async def test_answers_have_the_shape_of_their_task(worker: Worker) -> None:
    for task, request in requests_for(worker, 3):
        CHECKS[task]((await worker.infer(request)).value)


async def test_a_batch_answers_like_one_by_one_and_in_order(worker: Worker) -> None:
    requests = [request for _, request in requests_for(worker, 12)]
    one_by_one = [(await worker.infer(request)).value for request in requests]
    results = await asyncio.gather(*(worker.infer(request) for request in requests))
    assert max(result.batch_size for result in results) > 1
    for alone, together in zip(one_by_one, results, strict=True):
        words, confidence = claim_of(together.value)
        words_alone, confidence_alone = claim_of(alone)
        assert words == words_alone
        assert confidence == pytest.approx(confidence_alone, abs=0.02)


def claim_of(result: JsonObject) -> tuple[str, float | None]:
    if "text" in result:
        return result["text"], result["confidence"]
    return result["labels"][0]["label"], result["labels"][0]["confidence"]


async def test_a_bad_request_fails_and_the_model_goes_on(worker: Worker) -> None:
    ((_, good), *_) = requests_for(worker, 1)
    with pytest.raises((InferenceFailed, InvalidParameter)):
        await worker.infer(WorkRequest(good.params, ()))
    assert (await worker.infer(good)).value


async def test_specs_are_complete() -> None:
    for entry in CATALOG.values():
        spec = entry.spec
        assert spec.title
        assert spec.license
        assert spec.tasks <= CHECKS.keys()
        assert spec.memory_bytes > 2**20
        assert spec.max_batch >= 1
        assert (Task.OCR in spec.tasks) == bool(spec.languages)


async def test_memory_is_stated_honestly(worker: Worker) -> None:
    for _, request in requests_for(worker, 8):
        await worker.infer(request)
    spec = CATALOG[worker.model_id].spec
    assert worker.memory_bytes <= spec.memory_bytes * 1.1
