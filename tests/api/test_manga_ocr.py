"""MangaOCR over HTTP: used when its weights are on the volume, missed politely when they are not."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx2
import pytest

from fixtures.counts import some
from fixtures.damages import Damage, damages_of
from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.japanese_crops import Crop, crops
from fixtures.live import LiveServer, Start
from fixtures.tiny_models import MANGA_OCR, copied
from fixtures.waiting import eventually
from llm_vision.models.families.manga_ocr.model import MangaOcr

LAYOUTS = ("models--kha-white--manga-ocr-base/snapshots/0123abcd", "kha-white/manga-ocr-base", "manga-ocr-base", "")


def crop() -> Crop:
    return next(crops(1, seed=11))


def post(server: LiveServer, **fields: str) -> httpx2.Response:
    return server.client.post("/ocr", files={"file": saved(crop().picture)}, data=fields)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, start_module_server: Start) -> LiveServer:
    """A server whose volume has the weights."""
    volume = copied(MANGA_OCR, tmp_path_factory.mktemp("weights"))
    return start_module_server({"MANGAOCR_MODEL_PATH": str(volume)})


def test_it_reads_when_its_weights_are_there(ready: LiveServer) -> None:
    body = post(ready).json()
    assert (body["text"], body["engine"]) == (crop().text, "manga-ocr")
    assert (body["degraded"], body["notice"]) == (False, None)
    assert body["confidence"] > 0.8


def test_the_same_after_unload_and_reload(ready: LiveServer) -> None:
    before = post(ready).json()
    assert ready.client.post("/models/unload", json={"model": "manga-ocr"}).json()["unloaded"]
    assert post(ready).json() == before


def test_where_memory_is_short_it_reads_in_four_bits(start_server: Start, tmp_path: Path) -> None:
    volume = copied(MANGA_OCR, tmp_path / "weights")
    weights = (volume / "model.safetensors").stat().st_size
    limit = MangaOcr.spec.working_bytes + weights * 7 // 10
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume), "VISION_MEMORY_LIMIT_MB": str(limit >> 20)})
    body = post(server).json()
    assert (body["text"], body["engine"], body["degraded"]) == (crop().text, "manga-ocr", True)
    assert "in 4 bits" in body["notice"]
    (found,) = [model for model in server.client.get("/models").json()["models"] if model["id"] == "manga-ocr"]
    assert (found["device"], found["quantization"]) == ("cpu", "4bit")


def test_other_languages_are_read_by_the_embedded_reader(ready: LiveServer) -> None:
    body = post(ready, language="en").json()
    assert (body["engine"], body["degraded"], body["notice"]) == ("rapidocr", False, None)


def test_a_named_engine_is_used(ready: LiveServer) -> None:
    assert post(ready, engine="rapidocr").json()["engine"] == "rapidocr"
    answer = post(ready, engine="manga-ocr", language="en")
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_language")


def test_a_blank_crop_has_no_text(ready: LiveServer) -> None:
    body = ready.client.post("/ocr", files={"file": saved(draw_bubble([" "])[0])}).json()
    assert (body["text"], body["no_text"], body["engine"]) == ("", True, "manga-ocr")


@pytest.mark.parametrize("layout", some(LAYOUTS, 1))
def test_weights_are_found_without_a_restart(start_server: Start, tmp_path: Path, layout: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume), "VISION_FAILED_LOAD_SECONDS": "300"})
    missing = post(server).json()
    assert (missing["engine"], missing["degraded"]) == ("rapidocr", True)
    assert "manga-ocr-base" in missing["notice"]
    assert server.metric('llm_vision_degraded_answers_total{model="rapidocr"}') == 1
    for fields in ({"engine": "manga-ocr"}, {"fallback": "never"}):
        refused = post(server, **fields)
        assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
        assert "kha-white/manga-ocr-base" in refused.json()["detail"]
    shutil.copytree(MANGA_OCR, volume / layout, dirs_exist_ok=True)
    assert post(server, engine="manga-ocr").json()["text"] == crop().text
    assert post(server).json()["engine"] == "manga-ocr"


DAMAGES: dict[str, Damage] = {
    **damages_of("encoder.layernorm.weight", "encoder"),
    "another vocabulary": lambda folder: (folder / "vocab.txt").write_text("あ\n"),
}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def damaged(volume: Path, start_module_server: Start) -> LiveServer:
    """A server on a volume whose files the tests break and mend."""
    return start_module_server({"MANGAOCR_MODEL_PATH": str(volume)})


@pytest.mark.parametrize("name", some(DAMAGES, 1))
def test_promise_03_damaged_weights_are_refused(damaged: LiveServer, volume: Path, name: str) -> None:
    damaged.client.post("/models/unload", json={"model": "manga-ocr"})
    shutil.rmtree(volume / "manga-ocr-base", ignore_errors=True)
    shutil.copytree(MANGA_OCR, volume / "manga-ocr-base")
    DAMAGES[name](volume / "manga-ocr-base")
    refused = post(damaged, engine="manga-ocr")
    assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed"), refused.text
    instead = post(damaged).json()
    assert (instead["engine"], instead["degraded"]) == ("rapidocr", True)
    assert "model_load_failed" in instead["notice"]
    shutil.rmtree(volume / "manga-ocr-base")
    shutil.copytree(MANGA_OCR, volume / "manga-ocr-base")
    assert post(damaged, engine="manga-ocr").json()["text"] == crop().text, "repaired files are tried at once"


def test_a_worker_that_crashed_is_replaced_and_reads_the_same(ready: LiveServer) -> None:
    before = post(ready).json()
    for worker in ready.children("child.main"):
        worker.kill()
    eventually(lambda: ready.metric('llm_vision_worker_restarts_total{model="manga-ocr"}') == 1)
    assert post(ready).json() == before
