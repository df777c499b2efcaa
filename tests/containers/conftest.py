"""One image and one running service for all tests; `make docker-test` prints what was measured."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import base_image
from containers.engine import Engine, running
from containers.figures import measured
from containers.pip_settings import build_arguments
from containers.project import IMAGE, Project
from fixtures.tiny_models import LLAVA, LLAVA_ID, MANGA_OCR


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with running() as found:
        found.environment["PYTHON_IMAGE"], measured["base image"] = base_image.provide(found)
        yield found


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image that the real Dockerfile makes."""
    project = Project(engine, tmp_path_factory.mktemp("build"))
    started = time.monotonic()
    with build_arguments() as arguments:
        project.engine.environment |= arguments
        project.compose("build", "llm-vision")
    measured["build"] = f"{time.monotonic() - started:.0f} s"
    yield IMAGE
    engine.docker("image", "rm", "--force", IMAGE)


@pytest.fixture(scope="session")
def project(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A service with the tiny models on its volumes."""
    found = Project(engine, tmp_path_factory.mktemp("project"), {"LLAVA_QUANTIZATION": "4bit"})
    found.put(LLAVA, "llava_models", LLAVA_ID)
    found.put(MANGA_OCR, "mangaocr_models", "manga-ocr-base")
    try:
        started = time.monotonic()
        found.start()
        measured["from `up` to /readyz 200"] = f"{time.monotonic() - started:.1f} s"
        yield found
    finally:
        found.down()


@pytest.fixture
def another(engine: Engine, image: str, tmp_path: Path) -> Iterator[Project]:
    """A service that a test prepares and starts itself."""
    folder = tmp_path / f"another{os.getpid()}"
    folder.mkdir()
    found = Project(engine, folder)
    yield found
    found.down()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, value in measured.items():
        terminalreporter.write_line(f"{name}: {value}")
