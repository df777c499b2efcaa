"""Weights that are missing are downloaded, once, while the service goes on answering."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fixtures.downloading import (
    HALF,
    MODEL,
    REPO,
    THIRD,
    begin,
    download,
    of_model,
    on_hub,
    post,
    reads_right,
    wait_for_bytes,
)
from fixtures.fake_hub import COMMIT, Hub, is_large
from fixtures.live import Start, free_port
from fixtures.tiny_models import MANGA_OCR, copied
from fixtures.waiting import eventually


def test_the_embedded_reader_answers_until_the_weights_have_come(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.hold_at = HALF
    server = start_server(on_hub(hub, volume))
    first = post(server).json()
    assert (first["engine"], first["degraded"]) == ("rapidocr", True)
    assert "being downloaded" in first["notice"]
    wait_for_bytes(server, THIRD)
    assert "%: 1 of 3 MiB" in post(server).json()["notice"] or "%: 2 of 3 MiB" in post(server).json()["notice"]
    for fields in ({"engine": "manga-ocr"}, {"fallback": "never"}):
        refused = post(server, **fields)
        assert (refused.status_code, refused.json()["code"]) == (503, "model_loading")
        assert int(refused.headers["retry-after"]) > 0
    loading = server.client.post("/models/load", json=MODEL)
    assert (loading.status_code, loading.json()["code"]) == (503, "model_loading")
    assert of_model(server)["state"] == "downloading"
    assert not (volume / REPO).exists(), "half a copy is never seen as weights"
    hub.go.set()
    eventually(lambda: of_model(server)["state"] == "done")
    assert reads_right(server)
    assert "huggingface_hub" not in server.log


def test_a_named_model_is_refused_before_its_picture_is_decoded(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.hold_at = 0
    server = start_server(on_hub(hub, volume))
    answer = server.client.post("/ocr", files={"file": b"no picture"}, data={"engine": "manga-ocr"})
    assert answer.json()["code"] == "model_loading"


def test_the_manifest_says_what_has_come_from_where(start_server: Start, hub: Hub, volume: Path) -> None:
    assert download(start_server(on_hub(hub, volume)))[-1]["state"] == "done"
    manifest = json.loads((volume / REPO / "manifest.json").read_text())
    assert (manifest["repo"], manifest["commit"], manifest["downloaded"]) == (REPO, COMMIT, True)
    assert manifest["files"].keys() == hub.files.keys()
    for name, data in hub.files.items():
        assert manifest["files"][name]["size"] == len(data)
        assert (volume / REPO / name).read_bytes() == data


def test_a_pinned_commit_is_what_is_downloaded(start_server: Start, hub: Hub, volume: Path) -> None:
    pinned = {**on_hub(hub, volume), "VISION_REVISIONS": f"manga-ocr={COMMIT}"}
    assert download(start_server(pinned))[-1]["state"] == "done"
    assert hub.revisions == [COMMIT]
    server = start_server({**pinned, "VISION_REVISIONS": f"manga-ocr={'a' * 40}"})
    refused = post(server, engine="manga-ocr")
    assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
    assert f"at commit {COMMIT}, and {'a' * 40} is pinned" in refused.json()["detail"]
    assert server.client.post("/models/delete", json=MODEL).status_code == 200
    eventually(lambda: post(server, engine="manga-ocr").json()["code"] == "model_load_failed")
    assert "no such revision" in post(server, engine="manga-ocr").json()["detail"], "the hub has only the other one"


def test_ten_requests_at_once_start_one_download(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.hold_at = HALF
    server = start_server(on_hub(hub, volume))
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: post(server, engine="manga-ocr"), range(10)))
    assert {answer.json()["code"] for answer in answers} == {"model_loading"}
    assert len(server.children("downloads.child")) == 1
    hub.go.set()
    assert download(server)[-1]["state"] == "done"
    assert hub.listings == 1
    assert all(hub.asked_for(name) == [0] for name in hub.files)


def test_a_second_service_on_the_same_volume_waits_for_the_first(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.hold_at = HALF
    one, other = start_server(on_hub(hub, volume)), start_server(on_hub(hub, volume))
    begin(one)
    wait_for_bytes(one, THIRD)
    begin(other)
    eventually(lambda: of_model(other)["state"] == "waiting")
    assert "another service" in post(other, engine="manga-ocr").json()["detail"]
    hub.go.set()
    assert download(one)[-1]["state"] == download(other)[-1]["state"] == "done"
    assert (hub.listings, hub.asked_for("model.safetensors")) == (1, [0])


def test_weights_that_are_there_are_never_asked_for(start_server: Start, hub: Hub, volume: Path) -> None:
    copied(MANGA_OCR, volume / "manga-ocr-base")
    server = start_server(on_hub(hub, volume))
    assert reads_right(server)
    assert download(server) == [
        {"model": "manga-ocr", "state": "done", "bytes_done": 0, "bytes_total": None, "error": None}
    ]
    assert hub.requests == 0


@pytest.mark.parametrize("setting", [{"VISION_DOWNLOAD": "never"}, {"HF_HUB_OFFLINE": "1"}], ids=["never", "offline"])
def test_where_it_is_forbidden_no_connection_is_tried(
    start_server: Start, hub: Hub, volume: Path, setting: dict[str, str]
) -> None:
    server = start_server({**on_hub(hub, volume), **setting})
    body = post(server).json()
    assert (body["engine"], body["degraded"]) == ("rapidocr", True)
    assert ("HF_HUB_OFFLINE" in body["notice"]) == ("HF_HUB_OFFLINE" in setting)
    assert REPO in body["notice"]
    for answer in (
        post(server, engine="manga-ocr"),
        server.client.post("/models/load", json=MODEL),
        server.client.post("/models/download", json=MODEL),
    ):
        assert (answer.status_code, answer.json()["code"]) == (503, "model_load_failed")
    assert hub.requests == 0
    assert not server.children("downloads.child")


def test_without_a_network_the_next_requests_are_told_at_once(start_server: Start, hub: Hub, volume: Path) -> None:
    server = start_server({**on_hub(hub, volume), "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}"})
    begin(server)
    eventually(lambda: of_model(server)["state"] == "failed")
    for _ in range(3):
        refused = post(server, engine="manga-ocr")
        assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
        assert "the hub cannot be reached" in refused.json()["detail"]
        assert 0 < int(refused.headers["retry-after"]) <= 30
    body = post(server).json()
    assert body["degraded"]
    assert "the hub cannot be reached" in body["notice"]
    assert server.log.count("downloading weights") == 1, "not for each request"
    assert "Traceback" not in server.log
    warnings = [line for line in server.log.splitlines() if "the hub cannot be reached" in line and " WARNING " in line]
    assert len([line for line in warnings if "cannot be downloaded" in line and "model=manga-ocr" in line]) == 1


@pytest.mark.parametrize(
    ("status", "words"), [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "no such"), (500, "answers 500")]
)
def test_what_the_hub_refuses_is_told(start_server: Start, hub: Hub, volume: Path, status: int, words: str) -> None:
    hub.status = status
    server = start_server(on_hub(hub, volume))
    last = download(server)[-1]
    assert last["state"] == "failed"
    assert words in last["error"]
    hub.status = 200
    assert download(server)[-1]["state"] == "done", "who asks for it in so many words is not told to wait"


def test_files_that_come_another_way_heal_a_failed_download(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.status = 500
    server = start_server(on_hub(hub, volume))
    assert download(server)[-1]["state"] == "failed"
    copied(MANGA_OCR, volume / "manga-ocr-base")
    assert reads_right(server)
    assert of_model(server) is None


def test_preloading_waits_for_a_download_but_the_service_does_not(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.hold_at = HALF
    server = start_server(on_hub(hub, volume, VISION_PRELOAD="manga-ocr"))
    wait_for_bytes(server, THIRD)
    assert server.client.get("/readyz").status_code == 200
    hub.go.set()
    eventually(lambda: "] loaded model=manga-ocr" in server.log)
    assert reads_right(server)


def test_what_was_downloaded_can_be_deleted(start_server: Start, hub: Hub, volume: Path) -> None:
    server = start_server(on_hub(hub, volume))
    download(server)
    assert reads_right(server)
    assert server.client.post("/models/delete", json=MODEL).json() == {"model": "manga-ocr", "deleted": True}
    assert not (volume / REPO).exists()
    begin(server)
    assert download(server)[-1]["state"] == "done"
    (volume / REPO / "notes.txt").write_text("mine")
    server.client.post("/models/delete", json=MODEL)
    assert [file.name for file in (volume / REPO).iterdir()] == ["notes.txt"]


def test_a_download_that_runs_can_be_deleted(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.hold_at = HALF
    server = start_server(on_hub(hub, volume))
    begin(server)
    wait_for_bytes(server, THIRD)
    assert server.client.post("/models/delete", json=MODEL).status_code == 200
    assert not list((volume / ".downloads").glob("*/*"))
    assert not server.children("downloads.child")
    assert of_model(server) is None


def test_files_of_the_user_are_never_deleted(start_server: Start, hub: Hub, volume: Path) -> None:
    copied(MANGA_OCR, volume / REPO)
    server = start_server(on_hub(hub, volume))
    assert reads_right(server)
    before = {file.name: file.read_bytes() for file in (volume / REPO).iterdir()}
    for model in ("manga-ocr", "rapidocr"):
        refused = server.client.post("/models/delete", json={"model": model})
        assert (refused.status_code, refused.json()["code"]) == (409, "weights_not_downloaded")
    assert {file.name: file.read_bytes() for file in (volume / REPO).iterdir()} == before


def test_a_pickled_checkpoint_becomes_safetensors(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.files["pytorch_model.bin"] = as_pickled(hub.files.pop("model.safetensors"))
    environment = on_hub(hub, volume)
    del environment["HF_TEST_MANGA_OCR"]
    server = start_server(environment)
    assert download(server)[-1]["state"] == "done"
    names = {file.name for file in (volume / REPO).iterdir()}
    assert "model.safetensors" in names
    assert "pytorch_model.bin" not in names
    assert json.loads((volume / REPO / "manifest.json").read_text())["converted_from"]
    assert reads_right(server)


def as_pickled(data: bytes) -> bytes:
    import io

    import safetensors.torch
    import torch

    file = io.BytesIO()
    torch.save(safetensors.torch.load(data), file)
    return file.getvalue()


def test_only_what_models_load_is_fetched(start_server: Start, hub: Hub, volume: Path) -> None:
    wanted = set(hub.files)
    hub.files |= dict.fromkeys(
        ["modeling.py", "config.py", "../escaped.json", "config/../../../escaped.safetensors", "/etc/config.json",
         "sub/model.safetensors", "README.md", ".gitattributes", "manifest.json", "pytorch_model.bin", "config\n.json"],
        b"{}",
    )  # fmt: skip
    server = start_server(on_hub(hub, volume))
    assert download(server)[-1]["state"] == "done"
    assert {name for name, _ in hub.bodies} == wanted
    assert {file.name for file in (volume / REPO).iterdir()} == wanted | {"manifest.json"}
    assert not [file for file in volume.parent.rglob("*escaped*")]
    assert is_large("model.safetensors")


def test_admin_keys_download_and_delete(start_server: Start, hub: Hub, volume: Path) -> None:
    server = start_server(on_hub(hub, volume, VISION_API_KEYS="user", VISION_ADMIN_KEYS="chief"))
    for route in ("download", "delete"):
        answer = server.client.post(f"/models/{route}", json=MODEL, headers={"X-API-Key": "user"})
        assert answer.json()["code"] == "forbidden"
    server.client.headers["X-API-Key"] = "chief"
    assert download(server)[-1]["state"] == "done"
    assert server.client.post("/models/delete", json=MODEL).status_code == 200
