"""What every test may use: live servers, a journal of what worker processes did, a check that none stays behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx2
import pytest

import sitecustomize
from fixtures import counts, processes
from fixtures.downloading import REPO
from fixtures.fake_hub import Hub
from fixtures.live import ForkedServer, LiveServer, Start
from fixtures.tiny_models import MANGA_OCR

TESTS = Path(__file__).parent
os.environ["PYTHONPATH"] = str(TESTS)  # worker processes import the faulty models from here
os.environ["HF_HUB_OFFLINE"] = "1"
if counts.PROCESSES > 1:
    os.environ["HF_TEST_THREADS"] = str(counts.THREADS)
EGRESS = Path(tempfile.mkdtemp()) / "egress"
os.environ["HF_TEST_EGRESS"] = str(EGRESS)  # HF_*: handed on to workers, too
sys.addaudithook(sitecustomize.watch)


LONGEST = (
    "models/test_llava.py",
    "faults/test_promises.py",
    "api/test_llava.py",
    "faults/test_downloads.py",
    "api/test_manga_ocr.py",
    "api/test_owocr_socket.py",
    "models/test_manga_ocr.py",
    "api/test_downloads.py",
    "contract/test_every_model.py",
    "faults/test_promises_of_limits.py",
    "api/test_pages.py",
    "faults/test_rows_chat.py",
    "models/test_llava_memory.py",
    "faults/test_promises_of_chat.py",
    "models/test_int4.py",
    "faults/test_volumes.py",
    "api/test_ollama.py",
    "faults/test_every_code.py",
)
"""They begin first, what computes beside what waits: one that began last would keep a process busy alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {str(TESTS / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(LONGEST)))


class Journal:
    """Lines `event detail pid` that worker processes wrote."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal"

    def count(self, event: str) -> int:
        return len(self.details(event))

    def details(self, event: str) -> list[str]:
        if not self.path.exists():
            return []
        lines = [line.split(" ") for line in self.path.read_text().splitlines()]
        return [line[1] for line in lines if line[0] == event]


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    found = Journal(tmp_path)
    monkeypatch.setenv("HF_TEST_JOURNAL", str(found.path))
    return found


@pytest.fixture(autouse=True)
def no_process_stays_behind() -> Iterator[None]:
    before = processes.started_here()
    yield
    assert not processes.strays(before), "processes outlive their test"


@pytest.fixture(scope="session", autouse=True)
def nothing_leaves_this_machine() -> Iterator[None]:
    yield
    assert not EGRESS.exists(), EGRESS.read_text()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def start_module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a server with settings of its own for a whole file."""
    with _starting(lambda: tmp_path_factory.mktemp("server")) as start:
        yield start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with usual settings for a whole file, whatever its tests do to it; at the end it stops as it should."""
    started = ForkedServer(tmp_path_factory.mktemp("server"))
    yield started
    assert started.stop() == 0, started.log


@pytest.fixture
def client(server: LiveServer) -> httpx2.Client:
    return server.client


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with settings of its own for one test."""
    numbers = itertools.count()
    with _starting(lambda: tmp_path / f"server{next(numbers)}") as start:
        yield start


@contextlib.contextmanager
def _starting(new_folder: Callable[[], Path]) -> Iterator[Start]:
    with contextlib.ExitStack() as started:

        def start(environment: Mapping[str, str] | None = None, under: Sequence[str] = ()) -> LiveServer:
            folder = new_folder()
            folder.mkdir(exist_ok=True)
            server = ForkedServer(folder, environment, under)
            started.callback(server.kill)
            return server

        yield start


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that has the tiny manga-ocr."""
    with Hub.of_folder(REPO, MANGA_OCR) as started:
        yield started


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Where the volume of a service is, once somebody writes there."""
    return tmp_path / "volume"
