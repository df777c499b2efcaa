"""Where weights are found on a volume."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_vision.errors import ModelLoadFailed
from llm_vision.models.base import Volume, Weights
from llm_vision.models.families.manga_ocr.model import MangaOcr
from llm_vision.runtime.weights.store import WeightStore

REPO = Weights("owner/name", Volume.MANGA_OCR, "kind")


def store(root: Path) -> WeightStore:
    return WeightStore({Volume.MANGA_OCR: root})


def put(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("layout", ["", "name", "owner/name", "models--owner--name/snapshots/abc"])
def test_every_layout_is_found(tmp_path: Path, layout: str) -> None:
    folder = put(tmp_path / layout)
    assert store(tmp_path).folder(REPO) == folder


def test_a_folder_named_by_the_id_comes_before_the_volume_itself(tmp_path: Path) -> None:
    put(tmp_path)
    folder = put(tmp_path / "name")
    assert store(tmp_path).folder(REPO) == folder


def test_a_hub_cache_gives_the_snapshot_that_main_names_or_the_pinned_one(tmp_path: Path) -> None:
    cache = tmp_path / "models--owner--name"
    for revision in ("aaa", "bbb", "ccc"):
        put(cache / "snapshots" / revision)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("bbb\n")
    assert store(tmp_path).folder(REPO) == cache / "snapshots" / "bbb"
    pinned = Weights("owner/name", Volume.MANGA_OCR, "kind", revision="ccc")
    assert store(tmp_path).folder(pinned) == cache / "snapshots" / "ccc"
    assert store(tmp_path).folder(Weights("owner/name", Volume.MANGA_OCR, "kind", revision="ddd")) is None


@pytest.mark.parametrize("what", ["nothing", "a file", "a loop"])
def test_a_volume_that_is_none_is_no_error(tmp_path: Path, what: str) -> None:
    root = tmp_path / "volume"
    if what == "a file":
        root.write_text("")
    if what == "a loop":
        root.symlink_to(root)
    assert store(root).folder(REPO) is None
    assert list(store(root).files(MangaOcr.spec))
    with pytest.raises(ModelLoadFailed, match="kha-white/manga-ocr-base"):
        store(root).required(MangaOcr.spec)
