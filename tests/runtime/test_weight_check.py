"""Files that a manifest names are loaded as they were, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from llm_vision.models.base import UnusableWeights
from llm_vision.runtime.weights.manifest import Manifest, is_weight_file, read_manifest, write_manifest
from llm_vision.runtime.weights.proof import proven


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights after their first good load."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    with proven(tmp_path, may_repair=False):
        pass
    return tmp_path


def load(folder: Path, *, may_repair: bool = False) -> None:
    with proven(folder, may_repair=may_repair):
        pass


def as_download(folder: Path, repairs: int = 0) -> None:
    found = read_manifest(folder)
    assert found
    write_manifest(folder, Manifest(found.files, downloaded=True, repairs=repairs))


def test_the_first_good_load_writes_a_manifest(folder: Path) -> None:
    found = read_manifest(folder)
    assert found
    assert not found.downloaded
    assert {name: record.size for name, record in found.files.items()} == {"config.json": 2, "model.safetensors": 1000}
    load(folder)


def test_a_load_that_fails_writes_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ZeroDivisionError), proven(tmp_path, may_repair=False):
        raise ZeroDivisionError
    assert read_manifest(tmp_path) is None


def test_a_byte_that_was_flipped_in_its_place_is_refused(folder: Path) -> None:
    times = (folder / "model.safetensors").stat()
    with (folder / "model.safetensors").open("r+b") as file:
        os.pwrite(file.fileno(), b"\1", 500)
    os.utime(folder / "model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))  # as a failing disk does it
    with pytest.raises(UnusableWeights, match="if the change was on purpose"):
        load(folder)
    assert (folder / "model.safetensors").exists()


def test_damage_is_told_rather_than_what_the_load_made_of_it(folder: Path) -> None:
    (folder / "config.json").write_text("[]")
    with pytest.raises(UnusableWeights, match=r"config\.json is not what"), proven(folder, may_repair=False):
        raise ZeroDivisionError


def test_a_wrong_size_is_told_before_anything_is_loaded(folder: Path) -> None:
    (folder / "config.json").write_text("{} ")
    with pytest.raises(UnusableWeights), proven(folder, may_repair=False):
        pytest.fail("it was loaded")


def test_a_missing_file_and_an_added_one_are_refused(folder: Path) -> None:
    (folder / "model-00002.safetensors").write_bytes(b"")
    with pytest.raises(UnusableWeights, match=r"model-00002\.safetensors is not in"):
        load(folder)
    (folder / "model-00002.safetensors").unlink()
    (folder / "config.json").unlink()
    with pytest.raises(UnusableWeights, match=r"config\.json is not what"):
        load(folder)


def test_files_that_models_do_not_load_are_nobodys_affair(folder: Path) -> None:
    (folder / "README.md").write_text("changed")
    (folder / "modeling.py").write_text("changed")
    load(folder)


def test_only_damaged_downloads_are_removed_and_only_once(folder: Path) -> None:
    as_download(folder)
    (folder / "model.safetensors").write_bytes(bytes(999) + b"\1")
    with pytest.raises(UnusableWeights, match="may not be downloaded again"):
        load(folder)
    with pytest.raises(UnusableWeights, match="is removed"):
        load(folder, may_repair=True)
    assert not (folder / "model.safetensors").exists()
    (folder / "model.safetensors").write_bytes(bytes(999) + b"\2")
    as_download(folder, repairs=1)
    with pytest.raises(UnusableWeights, match="damaged again"):
        load(folder, may_repair=True)
    assert (folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2, "files": {}}', '{"format": 1, "files": {"../x.safetensors": {}}}', "\xff",
     '{"format": 1, "files": {"../config.json": {"size": 1, "sha256": ""}}}', '{"format": 1, "files": {}, "more": 1}'],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(UnusableWeights, match="cannot be read; when the files are right"):
        load(folder)


def test_a_folder_that_cannot_be_written_loads_without_a_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(os, "access", lambda *_: False)
    load(tmp_path)
    assert read_manifest(tmp_path) is None


def test_a_volume_without_room_for_a_manifest_loads_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / f".manifest.json.{os.getpid()}").mkdir()
    load(tmp_path)
    assert read_manifest(tmp_path) is None


def test_links_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0123").write_text("{}")
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/0123")
    load(snapshot)
    (tmp_path / "blobs" / "0123").write_text("[]")
    with pytest.raises(UnusableWeights):
        load(snapshot)


@pytest.mark.parametrize(
    "name",
    ["modeling_x.py", "config.py", "../config.json", "/config.json", "a/config.json", "config\n.json", "",
     ".safetensors", "manifest.json", "x.pt", "tokenizer.json.py", "config.json\0"],
)  # fmt: skip
def test_code_and_paths_are_no_weights(name: str) -> None:
    assert not is_weight_file(name)


@pytest.mark.parametrize(
    "name", ["config.json", "model-00001-of-00003.safetensors", "vocab.txt", "chat_template.jinja"]
)
def test_what_models_load_is_known(name: str) -> None:
    assert is_weight_file(name)


def test_the_manifest_is_plain_json(folder: Path) -> None:
    assert json.loads((folder / "manifest.json").read_text())["format"] == 1
