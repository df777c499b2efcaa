"""Promise 33: a volume that is full, read-only, forbidden or missing costs its own models only, until it is mended."""

from __future__ import annotations

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fixtures.downloading import download, on_hub, on_volume
from fixtures.encoding import saved
from fixtures.fake_hub import Hub
from fixtures.japanese_crops import crops
from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.tiny_models import MANGA_OCR, copied
from fixtures.waiting import eventually

CROP = next(crops(1, seed=11))
IS_ROOT = os.geteuid() == 0
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if IS_ROOT else ()
"""Root as any other user: what belongs to others is forbidden."""
OWN_MOUNTS = ("unshare", "--mount") if IS_ROOT else ("unshare", "--user", "--map-root-user", "--mount")
ANOTHER_USER = 1000
CHANGE_OWNER, CHANGE_MODE = f'"sudo chown -R {os.geteuid()}:{os.getegid()}"', '"sudo chmod -R u+rwX"'
CHANGE_BOTH = f"{CHANGE_OWNER} and {CHANGE_MODE}" if IS_ROOT else CHANGE_MODE
"""For what `of_another` closes: its owner may not either."""


def read(server: LiveServer, **fields: str) -> dict[str, Any]:
    answer = server.client.post("/ocr", files={"file": saved(CROP.picture)}, data=fields)
    return {"status": answer.status_code, **answer.json()}


def of_another(path: Path, mode: int) -> None:
    """Let a file or folder belong to somebody else, as far as we can."""
    if IS_ROOT:
        os.chown(path, ANOTHER_USER, ANOTHER_USER)
    path.chmod(mode)


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
    server = start_server(on_volume(volume), under=WITHOUT_RIGHTS)
    assert f"user {os.geteuid()} cannot read {volume}" in server.log
    assert f"run {CHANGE_BOTH} on the folder that is mounted there" in server.log
    reads_with_the_embedded_model(server, f"user {os.geteuid()} cannot read {volume}")
    volume.chmod(0o755)
    reads_with_its_own(server)


def test_promise_33_weights_in_a_folder_that_may_not_be_read(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    weights = copied(MANGA_OCR, volume / "manga-ocr-base")
    of_another(weights, 0o000)
    server = start_server(on_volume(volume), under=WITHOUT_RIGHTS)
    reads_with_the_embedded_model(server, f"user {os.geteuid()} cannot read {weights}: it belongs to")
    weights.chmod(0o755)
    reads_with_its_own(server)


def test_promise_33_a_volume_that_may_not_be_written(start_server: Start, tmp_path: Path) -> None:
    volume = copied(MANGA_OCR, tmp_path / "volume")
    of_another(volume, 0o555)
    server = start_server(on_volume(volume), under=WITHOUT_RIGHTS)
    assert f"user {os.geteuid()} cannot write {volume}, so nothing can be downloaded to it" in server.log
    assert f"run {CHANGE_BOTH} on the folder that is mounted there" in server.log
    reads_with_its_own(server)


@pytest.mark.skipif(not IS_ROOT, reason="nobody else can give a folder away")
def test_promise_33_a_volume_that_its_owner_may_write(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    of_another(volume, 0o755)
    server = start_server(on_volume(volume), under=WITHOUT_RIGHTS)
    assert (
        f"it belongs to user {ANOTHER_USER} with mode 755; on the host, run {CHANGE_OWNER} on the folder that is "
        f"mounted there, or set VISION_UID={ANOTHER_USER} and VISION_GID={ANOTHER_USER}\n"
    ) in server.log


def test_promise_33_ones_own_volume_that_is_closed(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o555)
    server = start_server(on_volume(volume), under=WITHOUT_RIGHTS)
    assert f"it belongs to user {os.geteuid()} with mode 555; on the host, run {CHANGE_MODE} on" in server.log
    assert "chown" not in server.log


def test_promise_33_weights_whose_config_may_not_be_read(start_server: Start, hub: Hub, tmp_path: Path) -> None:
    """They may be the operator's own, so that no others are downloaded in their place."""
    volume = tmp_path / "volume"
    config = copied(MANGA_OCR, volume / "manga-ocr-base") / "config.json"
    of_another(config, 0o000)
    server = start_server(on_hub(hub, volume), under=WITHOUT_RIGHTS)
    reads_with_the_embedded_model(server, f"no weights for manga-ocr: user {os.geteuid()} cannot read {config}: it")
    assert "into the folder" not in read(server)["notice"]
    assert hub.requests == 0
    config.chmod(0o644)
    reads_with_its_own(server)


def test_promise_33_unfinished_downloads_of_another(start_server: Start, hub: Hub, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    unfinished = volume / ".downloads"
    unfinished.mkdir(parents=True)
    of_another(unfinished, 0o555)
    server = start_server(on_hub(hub, volume, VISION_FAILED_LOAD_SECONDS="0"), under=WITHOUT_RIGHTS)
    because = f"user {os.geteuid()} cannot write {unfinished}, so nothing can be downloaded to it: it belongs to"
    assert because in server.log
    told = download(server)[-1]
    assert "the volume cannot be written" in told["error"]
    assert because in told["error"]
    unfinished.chmod(0o777)
    assert download(server)[-1]["state"] == "done"
    reads_with_its_own(server)


def test_promise_33_a_read_only_volume(start_server: Start, tmp_path: Path) -> None:
    volume = copied(MANGA_OCR, tmp_path / "volume")
    under = mounted(f"--bind {volume} {volume} && mount -o remount,bind,ro {volume}")
    server = start_server(on_volume(volume), under=under)
    assert f"{volume} is read-only: nothing can be downloaded to it" in server.log
    reads_with_its_own(server)
    assert not (volume / "manifest.json").exists()


def test_promise_33_a_full_volume(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    under = mounted(f"-t tmpfs -o size=1m none {volume}")
    server = start_server(on_volume(volume), under=under)
    assert f"{volume} has 1 MiB free, too little to download weights to it: make room there" in server.log
    reads_with_the_embedded_model(server, "has 1 MiB free")


def test_promise_33_a_missing_volume_that_comes_later(start_server: Start, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    server = start_server(on_volume(volume))
    reads_with_the_embedded_model(server, "into the folder manga-ocr-base")
    copied(MANGA_OCR, volume)
    reads_with_its_own(server)


def test_promise_33_a_volume_that_does_not_answer_keeps_nobody_else_waiting(
    start_server: Start, tmp_path: Path
) -> None:
    config = tmp_path / "volume" / "config.json"
    config.parent.mkdir()
    os.mkfifo(config)
    server = start_server({"MANGAOCR_MODEL_PATH": str(config.parent), "HF_TEST_HANGING_READS": "1"})
    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(read, server, engine="manga-ocr") for _ in range(4)]
        stuck = eventually(lambda: _writer_of(config))  # there is one as soon as the service reads
        try:
            assert server.client.get("/livez").status_code == 200
            assert server.client.get("/v1/models").status_code == 200
            as_json = {"image": base64.b64encode(picture_bytes(mark=7)).decode(), "engine": "faulty", "language": "en"}
            assert server.client.post("/ocr", json=as_json).json()["text"] == "7"
            assert not any(answer.done() for answer in answers)
            for answer in answers:
                body = answer.result()
                assert (body["status"], body["code"]) == (503, "model_load_failed")
                assert "does not answer" in body["detail"]
        finally:
            os.close(stuck)


def _writer_of(fifo: Path) -> int | None:
    """A descriptor to write to whoever reads a fifo; None while nobody does."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
