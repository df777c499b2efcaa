"""Weights that would explode cost their own model only: refused with the cause, while another model answers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.live import LiveServer, Start
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied


def device(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/dev/zero")


def pipe(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


def huge_template(folder: Path) -> None:
    os.truncate(folder / "chat_template.jinja", 10**10)


def huge_crop(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"crop_size": 100_000}))


def many_layers(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 10**6
    (folder / "config.json").write_text(json.dumps(config))


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a device for a config": (device, "config.json is a device or a pipe"),
    "a pipe for a tokenizer": (pipe, "tokenizer.json is a device or a pipe"),
    "a template of 10 GB": (huge_template, "chat_template.jinja has 9536 MiB; it may have 4"),
    "a crop of 100,000": (huge_crop, "preprocessor_config.json: crop_size is above 4096"),
    "a million layers": (many_layers, "config.json: num_hidden_layers is above 1024"),
}


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="module")
def server(volume: Path, start_module_server: Start) -> LiveServer:
    return start_module_server({"TRANSFORMERS_CACHE": str(volume), "VISION_DOWNLOAD": "never"})


@pytest.mark.parametrize("case", CASES)
def test_promise_01_weights_that_explode_are_refused_by_name(server: LiveServer, volume: Path, case: str) -> None:
    explode, reason = CASES[case]
    shutil.rmtree(volume / LLAVA_ID, ignore_errors=True)
    explode(copied(LLAVA, volume / LLAVA_ID))
    refused = server.client.post("/models/load", json={"model": LLAVA_ID})
    assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed"), refused.text
    assert reason in refused.json()["detail"]
    assert server.ocr().status_code == 200
