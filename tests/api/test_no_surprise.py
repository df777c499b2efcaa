"""Nothing is downloaded by surprise: who may, what fits, and what lists and /models tell of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fixtures.downloading import MODEL, REPO, on_hub, post
from fixtures.fake_hub import Hub
from fixtures.live import LiveServer, Start
from fixtures.tiny_models import LLAVA, LLAVA_ID, LLAVA_NEXT_ID, copied
from llm_vision.errors import StorageFull
from llm_vision.models.base import Volume
from llm_vision.models.families.manga_ocr.model import MangaOcr
from llm_vision.runtime.downloads.rules import DownloadRules
from llm_vision.runtime.placement.device import Gpu
from llm_vision.runtime.placement.fitting import Fitting, Need
from llm_vision.runtime.placement.placements import DevicePolicy
from llm_vision.runtime.weights.store import WeightStore

CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
KEYS = {"VISION_API_KEYS": "user", "VISION_ADMIN_KEYS": "chief"}
GIB = 1024**3


def info(server: LiveServer, model_id: str, key: str | None = None) -> dict[str, Any]:
    headers = {"X-API-Key": key} if key else {}
    models = server.client.get("/models", headers=headers).json()["models"]
    return next(found for found in models if found["id"] == model_id)


def ways_to_name(server: LiveServer, model: str, key: str) -> dict[str, httpx2.Response]:
    headers = {"X-API-Key": key}
    return {
        "openai": server.client.post("/v1/chat/completions", json={"model": model, **CHAT}, headers=headers),
        "ollama": server.client.post("/api/chat", json={"model": model, **CHAT}, headers=headers),
        "generate": server.client.post("/api/generate", json={"model": model, "prompt": "Hello"}, headers=headers),
        "analyze": server.client.post(
            "/analyze_image", files={"file": b"no picture"}, data={"model": model}, headers=headers
        ),
    }


def test_an_ordinary_key_brings_no_download_by_naming_a_model(start_server: Start, hub: Hub, volume: Path) -> None:
    settings = on_hub(hub, volume, TRANSFORMERS_CACHE=str(volume / "llava"), **KEYS)
    server = start_server(settings)
    for route, answer in ways_to_name(server, LLAVA_NEXT_ID, "user").items():
        assert answer.status_code == 503, route
        assert f"llm-vision models download {LLAVA_NEXT_ID}" in answer.text, route
    openai = ways_to_name(server, LLAVA_NEXT_ID, "user")["openai"]
    assert openai.json()["code"] == "model_not_ready"
    assert openai.headers["x-should-retry"] == "false", "it does not get better by itself"
    assert hub.requests == 0
    assert info(server, LLAVA_NEXT_ID, "user")["download"] is None


def test_an_ordinary_key_may_bring_the_configured_default(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.hold_at = 0
    server = start_server(on_hub(hub, volume, **KEYS))
    server.client.headers["X-API-Key"] = "user"
    assert post(server, engine="manga-ocr").json()["code"] == "model_loading"


@pytest.mark.parametrize("key", ["user", "chief"])
def test_who_manages_models_may_bring_any(start_server: Start, hub: Hub, volume: Path, key: str) -> None:
    hub.hold_at = 0
    server = start_server(on_hub(hub, volume, VISION_OCR_ENGINE="rapidocr", **KEYS))
    server.client.headers["X-API-Key"] = key
    expected = {"user": "model_not_ready", "chief": "model_loading"}
    assert post(server, engine="manga-ocr").json()["code"] == expected[key]
    assert (hub.requests > 0) <= (key == "chief")


def test_what_can_never_run_here_is_not_downloaded(start_server: Start, hub: Hub, volume: Path) -> None:
    server = start_server(on_hub(hub, volume, VISION_MEMORY_LIMIT_MB="512"))
    for answer in (
        server.client.post("/models/download", json=MODEL),
        server.client.post("/models/load", json=MODEL),
        server.client.post("/api/pull", json=MODEL),
        post(server, engine="manga-ocr"),
    ):
        assert answer.status_code == 507
        assert "it needs 1.2 GB of memory, and models may use 0.5 GB" in answer.text
        assert "its download takes 0.9 GB of disk, and " in answer.text
    read = post(server).json()
    assert (read["engine"], read["degraded"]) == ("rapidocr", True)
    assert "does not fit here" in read["notice"]
    assert hub.requests == 0
    assert "may use 0.5 GB" in info(server, "manga-ocr")["does_not_fit"]


def test_what_does_not_fit_onto_the_disk_is_not_downloaded(tmp_path: Path) -> None:
    assert MangaOcr.spec.weights
    rules = DownloadRules(True, False, 30, lambda _: Need(True, "there is memory"))
    store = WeightStore({Volume.MANGA_OCR: tmp_path})
    rules.check(store, MangaOcr.spec)
    whole_disk = replace(MangaOcr.spec.weights, download_bytes=shutil.disk_usage(tmp_path).total)
    with pytest.raises(StorageFull, match=r"there is memory; its download takes .* GB of disk, and .* GB are free"):
        rules.check(store, replace(MangaOcr.spec, weights=whole_disk))


def test_a_gpu_counts_with_all_its_memory() -> None:
    policies = {None: DevicePolicy(cpu_fallback=False, device="cuda")}
    busy, small = Gpu(0, free_bytes=0, total_bytes=8 * GIB), Gpu(0, free_bytes=GIB, total_bytes=GIB)
    assert Fitting(policies, lambda: [busy], 64 * GIB).memory_need(MangaOcr.spec).is_met
    too_small = Fitting(policies, lambda: [small], 64 * GIB).memory_need(MangaOcr.spec)
    assert not too_small.is_met
    assert "1.1 GB" in too_small.words


def test_models_tell_whether_their_weights_are_here(start_server: Start, hub: Hub, volume: Path) -> None:
    copied(LLAVA, volume / "llava" / LLAVA_ID)
    (volume / ".downloads" / REPO.replace("/", "--")).mkdir(parents=True)
    (volume / ".downloads" / REPO.replace("/", "--") / "model.safetensors.partial").write_bytes(bytes(1000))
    server = start_server(on_hub(hub, volume, TRANSFORMERS_CACHE=str(volume / "llava")))
    states = {
        name: (info(server, name)["weights"], info(server, name)["weights_bytes"])
        for name in ("manga-ocr", LLAVA_ID, LLAVA_NEXT_ID)
    }
    size = sum(file.stat().st_size for file in LLAVA.iterdir())
    assert states == {"manga-ocr": ("partial", 1000), LLAVA_ID: ("present", size), LLAVA_NEXT_ID: ("missing", 0)}
    assert info(server, "efficientnet-lite0")["weights"] == "present"
    assert info(server, LLAVA_NEXT_ID)["download_bytes"] == 15_140_000_000
