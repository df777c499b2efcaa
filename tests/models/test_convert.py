"""A pickled checkpoint as safetensors: the same tensors, and nothing of it is run."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from llm_vision.models.base import UnusableWeights
from llm_vision.runtime.downloads.convert import convert


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch $EVIL",)


def test_tensors_that_share_memory_are_all_there(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"whole": whole, "same": whole, "part": whole[1], "turned": whole.T, "other": torch.ones(2)}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    convert(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    with safe_open(tmp_path / "model.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


@pytest.mark.parametrize(
    "content",
    [Evil(), {"x": Evil()}, {"x": 5}, [torch.ones(1)], {5: torch.ones(1)}],
    ids=["an object", "an object by name", "a number by name", "a list", "a name that is a number"],
)
def test_whatever_is_no_tensor_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.setenv("EVIL", str(tmp_path / "evil"))
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnusableWeights):
        convert(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("data", [b"", b"text", b"<!DOCTYPE html>", bytes(1000)])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(data)
    with pytest.raises(UnusableWeights):
        convert(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")


def test_tensors_larger_than_their_file_are_not_written_out(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(1).expand(10_000, 10_000)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnusableWeights, match="far larger than their file"):
        convert(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_an_archive_that_grows_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(2_000_000)}, tmp_path / "plain.bin")
    with (
        zipfile.ZipFile(tmp_path / "plain.bin") as plain,
        zipfile.ZipFile(tmp_path / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(UnusableWeights, match="far larger than their file"):
        convert(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
