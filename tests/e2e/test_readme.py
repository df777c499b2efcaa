"""The README's examples, run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from fixtures.live import LiveServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TEXT = json.loads((ROOT / "demo" / "pictures" / "bubble.json").read_text())["text"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    started = LiveServer(tmp_path_factory.mktemp("server"))
    yield started
    started.stop()


def example(language: str, word: str, server: LiveServer) -> str:
    """The first block of that language with the word in it, for the live server's port."""
    blocks = re.findall(rf"```{language}\n(.+?)```", README, re.DOTALL)
    return next(block for block in blocks if word in block).replace(":9100", f":{server.port}")


def run(command: list[str], script: str) -> str:
    needed = shutil.which(command[0])
    if needed is None and os.environ.get("CI") != "true":
        pytest.skip(f"{command[0]} is not installed here")
    answer = subprocess.run(command, input=script, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_curl_examples(server: LiveServer) -> None:
    if shutil.which("curl") is None and os.environ.get("CI") != "true":
        pytest.skip("curl is not installed here")
    first, second, third, fourth = example("sh", "curl", server).strip().splitlines()
    assert json.loads(run(["sh"], first))["text"] == TEXT
    assert json.loads(run(["sh"], second))["analysis"].startswith("A comic page")
    assert run(["sh"], third) == TEXT + "\n"
    assert len(run(["sh"], fourth).splitlines()) >= 6, "a bubble a line"


def test_the_picture_shows_what_is_answered(server: LiveServer) -> None:
    with Image.open(ROOT / "docs" / "images" / "answer.png") as picture:
        shown = json.loads(picture.info["answer"])
    bubble = (ROOT / "demo" / "pictures" / "bubble.png").read_bytes()
    answer = server.client.post("/ocr", files={"file": bubble}, data={"engine": "rapidocr"}).json()
    for body in (shown, answer):
        body["confidence"] = round(body["confidence"], 2)  # processors differ in the last digits
    assert shown == answer, "run `make answer`"


def test_the_python_example(server: LiveServer) -> None:
    assert run([sys.executable, "-"], example("python", "urllib", server)).strip() == TEXT


def test_the_javascript_example(server: LiveServer) -> None:
    command = ["node", "--input-type=module", "-"]
    assert "white" in run(command, example("js", "fetch", server))


def test_the_make_targets_that_are_named_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "quickstart.md"):
        named = re.findall(r"(?:`|^ *)make ([a-z-]+)\b", page.read_text(), re.MULTILINE)
        assert named, page
        assert set(named) <= set(targets), page
