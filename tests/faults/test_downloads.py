"""Promise 3, while weights are on their way: killed, damaged, without room, changed afterwards; right or refused."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from fixtures.counts import some
from fixtures.downloading import (
    HALF,
    MODEL,
    REPO,
    THIRD,
    begin,
    crop,
    download,
    of_model,
    on_hub,
    post,
    reads_right,
    wait_for_bytes,
)
from fixtures.fake_hub import Hub
from fixtures.live import LiveServer, Start
from fixtures.tiny_models import MANGA_OCR, copied
from fixtures.waiting import eventually
from llm_vision.runtime.processes.process import _environment

LARGE = "model.safetensors"


def flip(file: Path) -> None:
    """Change one byte in its place."""
    with file.open("r+b") as opened:
        at = file.stat().st_size // 2
        byte = os.pread(opened.fileno(), 1, at)
        os.pwrite(opened.fileno(), bytes([byte[0] ^ 1]), at)


def reload(server: LiveServer) -> str:
    """Load anew, by a request that names the model; its error."""
    server.client.post("/models/unload", json=MODEL)
    return str(post(server, engine="manga-ocr").json()["detail"])


@pytest.mark.parametrize("number", some([signal.SIGKILL, signal.SIGTERM], 1))
def test_promise_03_what_was_fetched_when_the_service_ended_is_not_fetched_again(
    start_server: Start, hub: Hub, volume: Path, number: int
) -> None:
    hub.hold_at = HALF
    first = start_server(on_hub(hub, volume))
    begin(first)
    wait_for_bytes(first, THIRD)
    children = first.children("downloads.child")
    first.process.send_signal(number)
    first.process.wait()
    eventually(lambda: not [child for child in children if child.is_running()])
    hub.go.set()
    second = start_server(on_hub(hub, volume))
    assert download(second)[-1]["state"] == "done"
    start, resumed = hub.asked_for(LARGE)
    assert start == 0
    assert resumed >= THIRD
    assert all(hub.asked_for(name) == [0] for name in hub.files if name != LARGE)
    assert reads_right(second)


def test_promise_03_a_file_that_has_changed_on_the_hub_is_not_appended_to_the_old_one(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    hub.hold_at = HALF
    first = start_server(on_hub(hub, volume))
    begin(first)
    wait_for_bytes(first, THIRD)
    first.process.kill()
    first.process.wait()
    hub.files[LARGE] = bytes(HALF) + hub.files[LARGE][HALF:]
    hub.go.set()
    assert download(start_server(on_hub(hub, volume)))[-1]["state"] == "done"
    assert hub.asked_for(LARGE) == [0, 0]
    assert (volume / REPO / LARGE).read_bytes() == hub.files[LARGE]


@pytest.mark.parametrize("name", [LARGE, "vocab.txt"])
def test_promise_03_a_damaged_file_is_fetched_once_more(start_server: Start, hub: Hub, volume: Path, name: str) -> None:
    hub.damaged[name] = 1
    assert download(start_server(on_hub(hub, volume)))[-1]["state"] == "done"
    assert hub.asked_for(name) == [0, 0]
    assert (volume / REPO / name).read_bytes() == hub.files[name]


@pytest.mark.parametrize("name", [LARGE, "vocab.txt"])
def test_promise_03_a_file_that_comes_damaged_twice_is_refused(
    start_server: Start, hub: Hub, volume: Path, name: str
) -> None:
    hub.damaged[name] = 99
    server = start_server(on_hub(hub, volume))
    last = download(server)[-1]
    assert last["state"] == "failed"
    assert f"{name} arrived damaged twice" in last["error"]
    assert hub.asked_for(name) == [0, 0]
    assert not (volume / REPO).exists()
    refused = post(server, engine="manga-ocr")
    assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
    assert "damaged twice" in post(server).json()["notice"]


def test_promise_03_too_little_room_is_told_before_anything_is_fetched(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    hub.claimed_sizes = {LARGE: 10**15}
    server = start_server(on_hub(hub, volume))
    assert "MiB are needed" in download(server)[-1]["error"]
    refused = post(server, engine="manga-ocr")
    assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert "MiB are needed" in post(server).json()["notice"]
    assert hub.bodies == []


def test_promise_03_a_connection_that_breaks_off_is_opened_again(start_server: Start, hub: Hub, volume: Path) -> None:
    hub.cuts = [THIRD, HALF]
    server = start_server(on_hub(hub, volume))
    assert download(server)[-1]["state"] == "done"
    first, second, third = hub.asked_for(LARGE)
    assert (first, second) < (second, third), "each goes on behind what has come"
    assert (volume / REPO / LARGE).read_bytes() == hub.files[LARGE]


def test_promise_03_a_hub_without_ranges_sends_the_whole_file_again(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    hub.cuts, hub.knows_ranges = [THIRD], False
    server = start_server(on_hub(hub, volume))
    assert download(server)[-1]["state"] == "done"
    assert (volume / REPO / LARGE).read_bytes() == hub.files[LARGE]


def test_promise_03_a_hub_that_sends_more_than_it_announced_is_cut_off(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    hub.excess = bytes(1000)
    server = start_server(on_hub(hub, volume))
    assert "the hub sends more than it announced" in download(server)[-1]["error"]
    assert not (volume / REPO).exists()


def test_promise_03_a_volume_that_fills_up_on_the_way_is_told(start_server: Start, hub: Hub, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200m", "none", small], check=False).returncode:
        pytest.skip("this needs the right to mount")
    try:
        hub.hold_at = HALF
        server = start_server(on_hub(hub, small))
        begin(server)
        wait_for_bytes(server, THIRD)
        with (small / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, os.statvfs(small).f_bavail * os.statvfs(small).f_bsize)
        hub.go.set()
        eventually(lambda: of_model(server)["state"] == "failed")
        assert "the volume is full" in of_model(server)["error"]
        (small / "other").unlink()
        assert download(server)[-1]["state"] == "done"
        assert hub.asked_for(LARGE)[1] >= THIRD
        server.stop()
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def test_promise_03_a_downloaded_file_that_is_damaged_later_is_fetched_again_once(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    server = start_server(on_hub(hub, volume))
    download(server)
    assert reads_right(server)
    flip(volume / REPO / LARGE)
    assert "model.safetensors was damaged and is removed" in reload(server)
    begin(server)
    assert download(server)[-1]["state"] == "done"
    assert reads_right(server)
    assert hub.asked_for(LARGE) == [0, 0]
    assert hub.asked_for("vocab.txt") == [0], "only what was damaged"
    assert json.loads((volume / REPO / "manifest.json").read_text())["repairs"] == 1
    flip(volume / REPO / "vocab.txt")
    for _ in range(2):
        assert "vocab.txt is damaged again" in reload(server)
    assert (volume / REPO / "vocab.txt").exists()
    assert hub.asked_for("vocab.txt") == [0]


def test_promise_03_a_damaged_download_is_kept_where_it_may_not_be_fetched_again(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    download(start_server(on_hub(hub, volume)))
    flip(volume / REPO / LARGE)
    server = start_server(on_hub(hub, volume, VISION_DOWNLOAD="never"))
    assert "may not be downloaded again" in reload(server)
    assert (volume / REPO / LARGE).exists()


@pytest.mark.parametrize("name", [LARGE, "config.json"])
def test_promise_03_a_byte_of_the_users_own_files_that_changes_after_a_good_load_is_refused(
    start_server: Start, hub: Hub, volume: Path, name: str
) -> None:
    own = copied(MANGA_OCR, volume / "manga-ocr-base")
    server = start_server(on_hub(hub, volume))
    assert reads_right(server)
    assert not json.loads((own / "manifest.json").read_text())["downloaded"]
    flip(own / name)
    detail = reload(server)
    assert f"{name} is not what manifest.json records" in detail
    assert "remove manifest.json" in detail
    assert hub.requests == 0
    (own / name).write_bytes((MANGA_OCR / name).read_bytes())
    assert post(server, engine="manga-ocr").json()["text"] == crop().text, "repaired files are tried at once"


def test_promise_03_files_that_were_replaced_on_purpose_load_without_the_manifest(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    own = copied(MANGA_OCR, volume / "manga-ocr-base")
    server = start_server(on_hub(hub, volume))
    assert reads_right(server)
    config = (own / "generation_config.json").read_text()
    (own / "generation_config.json").write_text(config + "\n")
    assert "generation_config.json is not what" in reload(server)
    (own / "manifest.json").unlink()
    assert reads_right(server)
    assert (own / "manifest.json").exists()


def test_promise_03_no_foreign_files_are_overwritten(start_server: Start, hub: Hub, volume: Path) -> None:
    (volume / REPO).mkdir(parents=True)
    (volume / REPO / "notes.txt").write_text("mine")
    server = start_server(on_hub(hub, volume))
    assert "contains other files" in download(server)[-1]["error"]
    assert [file.name for file in (volume / REPO).iterdir()] == ["notes.txt"]
    assert hub.requests == 0


def test_promise_03_a_download_process_that_is_killed_is_told_and_gone_on_with(
    start_server: Start, hub: Hub, volume: Path
) -> None:
    hub.hold_at = HALF
    server = start_server(on_hub(hub, volume))
    begin(server)
    wait_for_bytes(server, THIRD)
    for child in server.children("downloads.child"):
        child.kill()
    eventually(lambda: of_model(server)["state"] == "failed")
    assert "has ended" in of_model(server)["error"]
    hub.go.set()
    assert download(server)[-1]["state"] == "done"
    assert hub.asked_for(LARGE)[1] >= THIRD


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks://127.0.0.1:9/"])
def test_promise_03_a_proxy_that_cannot_be_used_is_told(
    start_server: Start, hub: Hub, volume: Path, proxy: str
) -> None:
    last = download(start_server(on_hub(hub, volume, ALL_PROXY=proxy)))[-1]
    assert "set HTTPS_PROXY to an HTTP proxy, and unset ALL_PROXY" in last["error"]
    assert hub.requests == 0


@pytest.mark.parametrize("what", ["missing", "empty", "a folder"])
def test_promise_03_certificates_that_cannot_be_read_are_told(
    start_server: Start, hub: Hub, volume: Path, tmp_path: Path, what: str
) -> None:
    named = tmp_path / "certificates.pem"
    if what == "empty":
        named.touch()
    if what == "a folder":
        named.mkdir()
    error = download(start_server(on_hub(hub, volume, SSL_CERT_FILE=str(named))))[-1]["error"]
    assert "SSL_CERT_FILE names no certificates that can be read" in error
    assert "the volume cannot be written" not in error


def test_promise_03_variables_that_are_empty_count_as_unset(start_server: Start, hub: Hub, volume: Path) -> None:
    """As Compose passes them on from `HF_ENDPOINT=` in .env; a proxy sees whom the download asks."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(30)
        through = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.getsockname()[1]}", "NO_PROXY": "", "SSL_CERT_FILE": ""}
        begin(start_server(on_hub(hub, volume, **through) | {"HF_ENDPOINT": "", "HF_TOKEN": ""}))
        with proxy.accept()[0] as asked:
            assert asked.recv(1000).startswith(b"CONNECT huggingface.co:443 ")


def test_promise_03_no_gpu_is_not_an_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert _environment({})["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("name", ["HF_TOKEN", "HF_TOKEN_PATH", "HF_OIDC_ID_TOKEN", "HF_ENDPOINT"])
def test_secrets_of_the_hub_reach_the_download_and_no_other_process(
    start_server: Start, hub: Hub, volume: Path, name: str
) -> None:
    """An address may hold a password."""
    hub.hold_at = HALF
    server = start_server({name: "hf_secret"} | on_hub(hub, volume))
    assert post(server).json()["engine"] == "rapidocr"
    wait_for_bytes(server, THIRD)
    having = {
        module
        for module in ("downloads.child", "decoders.child", "child.main")
        for child in server.children(module)
        if name in child.environ()
    }
    assert server.children("decoders.child")
    assert server.children("child.main")
    assert having == {"downloads.child"}
