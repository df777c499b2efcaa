"""Promise 40: no dependency below the version that mended its known holes, and every file pinned by hash."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

FOLDER = Path(__file__).parents[2] / "llm-vision"
LOCKS = ("requirements.lock", "requirements-dev.lock")
FLOORS = {
    "starlette": "1.3.1",
    "python-multipart": "0.0.32",
    "h11": "0.16.0",
    "pillow": "12.3.0",
    "torch": "2.10.0",
    "transformers": "5.3.0",
    "urllib3": "2.7.0",
}


@pytest.mark.parametrize("name", FLOORS)
def test_promise_40_versions_are_above_the_floors(name: str) -> None:
    assert Version(version(name)) >= Version(FLOORS[name])


@pytest.mark.parametrize("lock", LOCKS)
def test_promise_40_everything_but_torch_is_pinned_by_hash(lock: str) -> None:
    text = (FOLDER / lock).read_text()
    packages = re.findall(r"^([A-Za-z0-9_.-]+)==\S+(.*(?:\n    .*)*)", text, re.MULTILINE)
    assert len(packages) > 80
    assert not [name for name, rest in packages if "--hash=sha256:" not in rest]
    assert "torch" not in {name for name, _ in packages}
    assert {name for name, _ in packages} >= FLOORS.keys() - {"torch"}


def test_promise_40_what_runs_is_what_was_tested() -> None:
    runs, tested = (set(re.findall(r"^\S+==\S+", (FOLDER / lock).read_text(), re.MULTILINE)) for lock in LOCKS)
    assert runs < tested
