"""MangaOCR over HTTP: used when its weights are on the volume, missed politely when they are not."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import safetensors.numpy

from fixtures.drawing import draw_bubble
from fixtures.japanese_crops import Crop, crops
from fixtures.live import LiveServer
from fixtures.tiny_models import MANGA_OCR, copied
from fixtures.waiting import eventually

Start = Callable[..., LiveServer]
LAYOUTS = ("", "manga-ocr-base", "kha-white/manga-ocr-base", "models--kha-white--manga-ocr-base/snapshots/0123abcd")


def crop() -> Crop:
    return next(crops(1, seed=11))


def post(server: LiveServer, **fields: str) -> httpx2.Response:
    file = io.BytesIO()
    crop().picture.save(file, "PNG")
    return server.client.post("/ocr", files={"file": file.getvalue()}, data=fields)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose volume has the weights."""
    volume = copied(MANGA_OCR, tmp_path_factory.mktemp("weights"))
    started = LiveServer(tmp_path_factory.mktemp("ready"), {"MANGAOCR_MODEL_PATH": str(volume)})
    yield started
    assert started.stop() == 0


def test_it_reads_when_its_weights_are_there(ready: LiveServer) -> None:
    body = post(ready).json()
    assert (body["text"], body["engine"]) == (crop().text, "manga-ocr")
    assert (body["degraded"], body["notice"]) == (False, None)
    assert body["confidence"] > 0.8


def test_the_same_after_unload_and_reload(ready: LiveServer) -> None:
    before = post(ready).json()
    assert ready.client.post("/models/unload", json={"model": "manga-ocr"}).json()["unloaded"]
    assert post(ready).json() == before


def test_other_languages_are_read_by_the_embedded_reader(ready: LiveServer) -> None:
    body = post(ready, language="en").json()
    assert (body["engine"], body["degraded"], body["notice"]) == ("rapidocr", False, None)


def test_a_named_engine_is_used(ready: LiveServer) -> None:
    assert post(ready, engine="rapidocr").json()["engine"] == "rapidocr"
    answer = post(ready, engine="manga-ocr", language="en")
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_language")


def test_a_blank_crop_has_no_text(ready: LiveServer) -> None:
    file = io.BytesIO()
    draw_bubble([" "])[0].save(file, "PNG")
    body = ready.client.post("/ocr", files={"file": file.getvalue()}).json()
    assert (body["text"], body["no_text"], body["engine"]) == ("", True, "manga-ocr")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_without_a_restart(start_server: Start, tmp_path: Path, layout: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume), "VISION_FAILED_LOAD_SECONDS": "300"})
    missing = post(server).json()
    assert (missing["engine"], missing["degraded"]) == ("rapidocr", True)
    assert "manga-ocr-base" in missing["notice"]
    for fields in ({"engine": "manga-ocr"}, {"fallback": "never"}):
        refused = post(server, **fields)
        assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
        assert "kha-white/manga-ocr-base" in refused.json()["detail"]
    shutil.copytree(MANGA_OCR, volume / layout, dirs_exist_ok=True)
    assert post(server, engine="manga-ocr").json()["text"] == crop().text
    assert post(server).json()["engine"] == "manga-ocr"


def damage_truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def damage_missing_tensor(folder: Path) -> None:
    _change(folder, lambda tensors: tensors.pop("encoder.layernorm.weight"))


def damage_extra_tensor(folder: Path) -> None:
    _change(folder, lambda tensors: tensors.update(stranger=tensors["encoder.layernorm.weight"]))


def damage_shape(folder: Path) -> None:
    name = "encoder.layernorm.weight"
    _change(folder, lambda tensors: tensors.update({name: tensors[name][:-1].copy()}))


def damage_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damage_web_page(folder: Path) -> None:
    (folder / "model.safetensors").write_text("<!DOCTYPE html><title>Sign in</title>")


def damage_lfs_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")


def damage_layers(folder: Path) -> None:
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"num_hidden_layers": 5', '"num_hidden_layers": 4'))


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def damage_wrong_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}')


def damage_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("あ\n")


def _change(folder: Path, change: Callable[[dict], object]) -> None:
    file = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    change(tensors)
    safetensors.numpy.save_file(tensors, file, metadata={"format": "pt"})


DAMAGES = [found for name, found in list(globals().items()) if name.startswith("damage_")]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def damaged(volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server on a volume whose files the tests break and mend."""
    started = LiveServer(tmp_path_factory.mktemp("damaged"), {"MANGAOCR_MODEL_PATH": str(volume)})
    yield started
    assert started.stop() == 0


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_promise_03_damaged_weights_are_refused(
    damaged: LiveServer, volume: Path, damage: Callable[[Path], None]
) -> None:
    damaged.client.post("/models/unload", json={"model": "manga-ocr"})
    shutil.rmtree(volume / "manga-ocr-base", ignore_errors=True)
    shutil.copytree(MANGA_OCR, volume / "manga-ocr-base")
    damage(volume / "manga-ocr-base")
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
    for worker in ready.children("child"):
        worker.kill()
    eventually(lambda: ready.metric('llm_vision_worker_restarts_total{model="manga-ocr"}') == 1)
    assert post(ready).json() == before
