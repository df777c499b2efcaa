"""`llm-vision models download`: weights before the service starts."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from fixtures.downloading import REPO
from fixtures.fake_hub import Hub
from fixtures.waiting import eventually

COMMAND = [sys.executable, "-m", "llm_vision.cli.main", "models", "download"]


def start(hub: Hub, tmp_path: Path, model: str, stdout: int = subprocess.PIPE, **more: str) -> subprocess.Popen[str]:
    settings = {"MANGAOCR_MODEL_PATH": str(tmp_path / "volume"), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", **more}
    return subprocess.Popen(
        [*COMMAND, model],
        cwd=tmp_path,
        env={**os.environ, **settings},
        text=True,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def test_it_downloads_and_says_how_far_it_is_even_where_the_service_never_does(hub: Hub, tmp_path: Path) -> None:
    command = start(hub, tmp_path, "manga-ocr", VISION_DOWNLOAD="never")
    out, errors = command.communicate()
    assert (command.returncode, errors) == (0, "")
    assert out.splitlines()[-1] == "manga-ocr: done, 100 % (3 of 3 MiB)"
    assert (tmp_path / "volume" / REPO / "manifest.json").exists()
    again = start(hub, tmp_path, "manga-ocr")
    assert (again.communicate()[0], again.returncode) == ("manga-ocr: done\n", 0)
    assert hub.listings == 1


def test_at_a_terminal_it_shows_a_bar(hub: Hub, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    command = start(hub, tmp_path, "manga-ocr", stdout=theirs)
    os.close(theirs)
    command.communicate()
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert command.returncode == 0
    assert "manga-ocr:   0%|" in shown
    assert re.search(r"manga-ocr: 100%\|█+\| 2\.\d+M/2\.\d+M .*done", shown)


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        ("manga-ocr", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids"),
        ("manga-ocr", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached"),
        ("nothing", {}, "there is no such model; "),
    ],
    ids=["offline", "no network", "unknown"],
)
def test_what_is_in_the_way_is_one_line(hub: Hub, tmp_path: Path, model: str, more: dict[str, str], words: str) -> None:
    command = start(hub, tmp_path, model, **more)
    _, errors = command.communicate()
    assert command.returncode == 1
    assert words in errors
    assert errors.count("\n") == 1
    assert hub.requests == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_stopped(hub: Hub, tmp_path: Path, number: int) -> None:
    hub.hold_at = 0
    command = start(hub, tmp_path, "manga-ocr")
    eventually(lambda: hub.asked_for("model.safetensors"))
    command.send_signal(number)
    _, errors = command.communicate()
    assert command.returncode == 1
    assert "goes on with what has come" in errors
