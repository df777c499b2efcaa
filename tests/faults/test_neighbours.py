"""Packages that happen to be installed beside the service are not taken: here each breaks whoever imports it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.encoding import saved
from fixtures.japanese_crops import crops
from fixtures.live import TESTS, LiveServer, Start
from fixtures.tiny_models import MANGA_OCR, copied
from llm_vision.neighbours import _OF_LIBRARIES

OF_THE_GATEWAY = ("httptools", "uvloop", "wsproto", "zuvloop")
BROKEN = """
with open({journal!r}, "a") as file:
    file.write({name!r} + " ")
raise RuntimeError("built for something else")
"""
UVLOOP = """
import asyncio

class Loop(asyncio.SelectorEventLoop):
    async def subprocess_exec(self, *args, process_group=None, **options):
        if process_group is not None:
            raise ValueError("unexpected kwargs: process_group")  # as uvloop 0.22 says
        return await super().subprocess_exec(*args, **options)

new_event_loop = Loop
"""
DEVICE = "device-plug-in"


def install(folder: Path, name: str, source: str, entry_points: str = "") -> None:
    """A package as pip leaves it, in its newest version."""
    (folder / f"{name}.py").write_text(source)
    about = folder / f"{name}-99.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
    (about / "RECORD").write_text(f"{name}.py,,\n")
    (about / "entry_points.txt").write_text(entry_points)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each of them writes its name."""
    return tmp_path_factory.mktemp("imported") / "names"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, imported: Path, start_module_server: Start
) -> Iterator[LiveServer]:
    """A service with all of them beside it, and variables that would have one of them send its requests away."""
    folder = tmp_path_factory.mktemp("site-packages")
    for name in (*OF_THE_GATEWAY, *_OF_LIBRARIES):
        source = UVLOOP if name == "uvloop" else BROKEN.format(journal=str(imported), name=name)
        install(folder, name, source)
    plug_in = BROKEN.format(journal=str(imported), name="device_plug_in")
    install(folder, "device_plug_in", plug_in, "[torch.backends]\ndevice = device_plug_in:load\n")
    settings = {
        "PYTHONPATH": f"{TESTS}:{folder}",
        "MANGAOCR_MODEL_PATH": str(copied(MANGA_OCR, tmp_path_factory.mktemp("weights"))),
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    yield start_module_server(settings, under=("env",))
    assert not imported.exists(), imported.read_text()


def test_the_loop_that_cannot_start_our_processes_is_one() -> None:
    space: dict[str, type[asyncio.SelectorEventLoop]] = {}
    exec(UVLOOP, space)
    with asyncio.Runner(loop_factory=space["Loop"]) as runner, pytest.raises(ValueError, match="process_group"):
        runner.run(asyncio.create_subprocess_exec("true", process_group=0))


def test_pictures_are_decoded_and_read(server: LiveServer) -> None:
    assert server.ocr(mark=5).json()["text"] == "5"


def test_a_model_of_torch_and_transformers_reads(server: LiveServer) -> None:
    crop = next(crops(1, seed=11))
    body = server.client.post("/ocr", files={"file": saved(crop.picture)}).json()
    assert (body["text"], body["engine"]) == (crop.text, "manga-ocr")
