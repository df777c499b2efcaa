"""Models that another installed package brings, with the example of docs/adding-a-model.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from fixtures.encoding import saved
from fixtures.live import Start

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "adding-a-model.md").read_text()
EXAMPLE, *_ = re.findall(r"```python\n(.+?)```", DOCS, re.DOTALL)
ENTRY_POINT, *_ = re.findall(r"```toml\n(.+?)```", DOCS, re.DOTALL)
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "tally"
version = "1"

[tool.setuptools]
py-modules = ["tally"]

"""
AS_A_PROCESS_OF_ITS_OWN = ("env",)


def installed(source: str, folder: Path) -> dict[str, str]:
    """Install a package with one module; the environment in which it is there."""
    package, site = folder / "package", folder / "site"
    package.mkdir()
    (package / "pyproject.toml").write_text(PROJECT + ENTRY_POINT)
    (package / "tally.py").write_text(source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", site, package], check=True)
    return {"PYTHONPATH": os.pathsep.join((str(site), os.environ["PYTHONPATH"]))}


def tally_marks(count: int) -> bytes:
    picture = Image.new("RGB", (200, 60), "white")
    for number in range(count):
        ImageDraw.Draw(picture).rectangle((20 + 20 * number, 5, 26 + 20 * number, 55), fill="black")
    return saved(picture)


def test_the_example_answers_through_the_routes(start_server: Start, tmp_path: Path) -> None:
    server = start_server(installed(EXAMPLE, tmp_path), under=AS_A_PROCESS_OF_ITS_OWN)
    answer = server.client.post("/ocr", files={"file": tally_marks(4)}, data={"engine": "tally"}).json()
    assert (answer["text"], answer["engine"], answer["confidence"]) == ("4", "tally", 1.0)
    blank = server.client.post("/ocr", files={"file": tally_marks(0)}, data={"engine": "tally"}).json()
    assert (blank["text"], blank["no_text"]) == ("", True)
    assert server.metric('llm_vision_model_loads_total{model="tally"') == 1
    assert "tally" in {model["id"] for model in server.client.get("/models").json()["models"]}


@pytest.mark.parametrize("source", ["import no_such_module\n", EXAMPLE.replace('"tally"', '"rapidocr"')])
def test_a_package_that_cannot_be_used_stops_the_start(tmp_path: Path, source: str) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    environment = {**os.environ, **installed(source, tmp_path)}
    command = [sys.executable, "-m", "llm_vision.cli.main", "serve", "--port", "0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 78
    assert "the models of the entry point tally cannot be imported" in ended.stderr
