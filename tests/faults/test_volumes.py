"""Promise 33: a volume that is full, read-only, forbidden or missing costs its own models only, until it is mended."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fixtures.encoding import saved
from fixtures.japanese_crops import crops
from fixtures.live import LiveServer
from fixtures.tiny_models import MANGA_OCR, copied

Start = Callable[..., LiveServer]
CROP = next(crops(1, seed=11))
IS_ROOT = os.geteuid() == 0
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if IS_ROOT else ()
"""Root as any other user: what belongs to others is forbidden."""
OWN_MOUNTS = ("unshare", "--mount") if IS_ROOT else ("unshare", "--user", "--map-root-user", "--mount")
ANOTHER_USER = 1000


def read(server: LiveServer, **fields: str) -> dict[str, Any]:
    answer = server.client.post("/ocr", files={"file": saved(CROP.picture)}, data=fields)
    return {"status": answer.status_code, **answer.json()}


def of_another(folder: Path, mode: int) -> None:
    """Let a folder belong to somebody else, as far as we can."""
    if IS_ROOT:
        os.chown(folder, ANOTHER_USER, ANOTHER_USER)
    folder.chmod(mode)


def mounted(mount: str) -> tuple[str, ...]:
    """A command under which a server has a mount of its own."""
    return (*OWN_MOUNTS, "sh", "-c", f'mount {mount} && exec "$@"', "sh")


def reads_with_the_embedded_model(server: LiveServer, because: str) -> None:
    """Without a word of the volume's model, and with the reason."""
    answer = read(server)
    assert (answer["status"], answer["engine"], answer["degraded"]) == (200, "rapidocr", True)
    refused = read(server, engine="manga-ocr")
    assert (refused["status"], refused["code"]) == (503, "model_load_failed")
    assert because in refused["detail"]


def reads_with_its_own(server: LiveServer) -> None:
    answer = read(server)
    assert (answer["text"], answer["engine"], answer["degraded"]) == (CROP.text, "manga-ocr", False)


def test_promise_33_a_volume_that_may_not_be_read(start_server: Start, tmp_path: Path) -> None:
    volume = copied(MANGA_OCR, tmp_path / "volume")
    of_another(volume, 0o000)
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume)}, under=WITHOUT_RIGHTS)
    assert f"user {os.geteuid()} cannot read {volume}" in server.log
    assert "sudo chown -R" in server.log
    reads_with_the_embedded_model(server, f"user {os.geteuid()} cannot read {volume}")
    volume.chmod(0o755)
    reads_with_its_own(server)


def test_promise_33_weights_in_a_folder_that_may_not_be_read(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    weights = copied(MANGA_OCR, volume / "manga-ocr-base")
    of_another(weights, 0o000)
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume)}, under=WITHOUT_RIGHTS)
    reads_with_the_embedded_model(server, f"user {os.geteuid()} cannot read {weights}: it belongs to")
    weights.chmod(0o755)
    reads_with_its_own(server)


def test_promise_33_a_volume_that_may_not_be_written(start_server: Start, tmp_path: Path) -> None:
    volume = copied(MANGA_OCR, tmp_path / "volume")
    of_another(volume, 0o555)
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume)}, under=WITHOUT_RIGHTS)
    assert f"user {os.geteuid()} cannot write {volume}, so nothing can be downloaded to it" in server.log
    reads_with_its_own(server)


def test_promise_33_a_read_only_volume(start_server: Start, tmp_path: Path) -> None:
    volume = copied(MANGA_OCR, tmp_path / "volume")
    under = mounted(f"--bind {volume} {volume} && mount -o remount,bind,ro {volume}")
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume)}, under=under)
    assert f"{volume} is read-only: nothing can be downloaded to it" in server.log
    reads_with_its_own(server)
    assert not (volume / "manifest.json").exists()


def test_promise_33_a_full_volume(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    under = mounted(f"-t tmpfs -o size=1m none {volume}")
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume)}, under=under)
    assert f"{volume} has 1 MiB free, too little to download weights to it: make room there" in server.log
    reads_with_the_embedded_model(server, "has 1 MiB free")


def test_promise_33_a_missing_volume_that_comes_later(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    server = start_server({"MANGAOCR_MODEL_PATH": str(volume)})
    reads_with_the_embedded_model(server, "belong into the folder manga-ocr-base")
    copied(MANGA_OCR, volume)
    reads_with_its_own(server)
