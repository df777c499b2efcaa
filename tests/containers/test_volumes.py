"""What comes onto the volumes of a container, and what is told of those that are full, missing or of another owner."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from containers.asking import PAGE, download, post, reads_bubble, reads_crop
from containers.engine import Failed
from containers.project import USER, Project
from fixtures.downloading import REPO
from fixtures.fake_hub import Hub
from fixtures.tiny_models import LLAVA, LLAVA_ID, MANGA_OCR


@contextlib.contextmanager
def hub_on_the_host(project: Project) -> Iterator[Hub]:
    """A hub on this machine, that the service is told to ask by the name which docker-compose.yml gives the host."""
    bridge = project.engine.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    with Hub.of_folder(REPO, MANGA_OCR, bridge.strip()) as hub:
        address = f"http://host.docker.internal:{urlsplit(hub.url).port}"
        project.set({"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": address})
        yield hub


def test_weights_are_downloaded_onto_the_volume_by_a_command(another: Project) -> None:
    with hub_on_the_host(another) as hub:
        command = ["run", "--rm", "-T", "--no-deps", "llm-vision", "models", "download", "manga-ocr"]
        assert "manga-ocr: done, 100 %" in another.compose(*command)
        asked = hub.requests
        assert asked
        another.start()
        reads_crop(another)
        assert hub.requests == asked
    files = list(another.volume("mangaocr_models").rglob("*.safetensors"))
    assert files
    assert {file.stat().st_uid for file in files} == {USER}


def test_volumes_that_cannot_be_written_or_read_are_told_with_what_to_do(another: Project) -> None:
    written, read = another.volume("llava_models"), another.volume("mangaocr_models")
    another.put(LLAVA, "llava_models", LLAVA_ID)
    os.chown(written, 0, 0)
    os.chown(read, 0, 0)
    read.chmod(0o700)
    another.start()
    log = another.logs()
    assert f"user {USER} cannot write /data/llava_models" in log
    assert f"user {USER} cannot read /data/mangaocr_models: it belongs to user 0 with mode 700" in log
    assert f"sudo chown -R {USER}:{USER}" in log
    reads_bubble(another)
    refused = post(another, "/ocr", PAGE.read_bytes(), engine="manga-ocr").json()
    assert refused["code"] == "model_load_failed"
    assert f"user {USER} cannot read /data/mangaocr_models" in refused["detail"]


@contextlib.contextmanager
def of_size(size: str, folder: Path) -> Iterator[None]:
    """Let a folder be a small volume of its own."""
    options = f"size={size},uid={USER},gid={USER},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_volume_costs_its_own_model_only_until_there_is_room(another: Project) -> None:
    volume = another.volume("mangaocr_models")
    with of_size("16m", volume), hub_on_the_host(another) as hub:
        another.start()
        assert "/data/mangaocr_models has 16 MiB free, too little to download weights to it" in another.logs()
        told = download(another)["error"]
        assert told["code"] == "storage_full"
        assert re.search(r"its download takes [\d.]+ GB of disk, and \d+ MB are free", told["message"])
        refused = post(another, "/ocr", PAGE.read_bytes(), engine="manga-ocr")
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
        assert "MB are free" in refused.json()["detail"]
        reads_bubble(another)
        assert not hub.bodies
        subprocess.run(["mount", "-o", "remount,size=1200m", volume], check=True)
        assert download(another)["state"] == "done"
        reads_crop(another)


def test_a_missing_folder_is_roots_and_costs_its_own_model_only_until_it_is_given_away(another: Project) -> None:
    volume = another.volume("mangaocr_models")
    volume.rmdir()
    with hub_on_the_host(another):
        another.start()
        assert (
            f"user {USER} cannot write /data/mangaocr_models, so nothing can be downloaded to it: it belongs to user 0 "
            f'with mode 755; on the host, run "sudo chown -R {USER}:{USER}" on the folder that is mounted there'
        ) in another.logs()
        assert "the volume cannot be written" in download(another)["error"]
        reads_bubble(another)
        os.chown(volume, USER, USER)
        assert download(another)["state"] == "done"
        reads_crop(another)


def test_without_a_network_the_command_says_what_is_wrong(another: Project) -> None:
    with pytest.raises(Failed, match="HF_HUB_OFFLINE forbids"):
        another.compose("run", "--rm", "--no-deps", "llm-vision", "models", "download", "manga-ocr")
