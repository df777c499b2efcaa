"""The 4-bit copy of a checkpoint that is kept beside it, so that the next start need not quantise again."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...base import JsonObject, UnusableWeights

if TYPE_CHECKING:
    import torch

FOLDER = ".int4"
"""In the folder of the checkpoint."""
DESCRIPTION = "int4.json"
_CONFIG = "config.json"
_FORMAT = 1
"""Another number makes all copies be written anew."""
_ORDER = "units of 64 rows; a byte for each column and each of the first 32 rows; row r low, row r + 32 high"
_UNFINISHED = ".int4-unfinished-"
_SHARD_BYTES = 500_000_000
_SPARE_BYTES = 500_000_000
_BESIDES = (".json", ".jinja", ".model", ".txt")

log = logging.getLogger(__name__)


def read_config(folder: Path) -> JsonObject:
    """A checkpoint's config.json.

    Raises:
        UnusableWeights: there is none, or it is no JSON object.
    """
    try:
        config = json.loads((folder / _CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise UnusableWeights("config.json cannot be read") from error
    if not isinstance(config, dict):
        raise UnusableWeights("config.json is not an object")
    return config


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that a checkpoint consists of.

    Raises:
        UnusableWeights: the index cannot be read or names files that are not there.
    """
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        try:
            names = set(json.loads(index.read_bytes())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnusableWeights("the index of the weights cannot be read") from error
    files = sorted(folder / Path(str(name)).name for name in names)
    if not all(file.is_file() for file in files):
        raise UnusableWeights("files with weights are missing")
    return files


def describe(folder: Path, group_size: int) -> JsonObject:
    """What a copy of the checkpoint as it is now says of itself.

    Raises:
        UnusableWeights: the checkpoint is not whole.
    """
    states = {file.name: file.stat() for file in (*weight_files(folder), folder / _CONFIG)}
    return {
        "format": _FORMAT,
        "group_size": group_size,
        "order": _ORDER,
        "sources": {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()},
    }


def usable(folder: Path, description: JsonObject) -> Path | None:
    """The copy, when it was made from these very files in this very way."""
    copy = folder / FOLDER
    try:
        described = json.loads((copy / DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return None
    return copy if described == description else None


def keep(folder: Path, tensors: Mapping[str, torch.Tensor], quantization: JsonObject, description: JsonObject) -> None:
    """Write a copy, whole or not at all; where that cannot be, say so in the log and go on.

    Args:
        folder: the checkpoint.
        tensors: the loaded model's, by Transformers' own names.
        quantization: for config.json.
        description: of the checkpoint before it was loaded.
    """
    from huggingface_hub import save_torch_state_dict
    from safetensors import SafetensorError

    size = sum(tensor.nbytes for tensor in tensors.values())
    try:
        with _lock(folder):
            if usable(folder, description):
                return  # another process was faster
            _remove_unfinished(folder)
            remove(folder)
            if shutil.disk_usage(folder).free < size + _SPARE_BYTES:
                log.warning("no space for a copy of the 4-bit weights: they are made again at each start")
                return
            with _unfinished(folder) as place:
                save_torch_state_dict(dict(tensors), place, max_shard_size=_SHARD_BYTES)
                _write_besides(folder, place, quantization)
                _finish(place, description)
                place.rename(folder / FOLDER)
    except (OSError, SafetensorError) as error:
        log.warning("the 4-bit weights cannot be kept (%s): they are made again at each start", type(error).__name__)


def remove(folder: Path) -> None:
    """Throw a copy away that is of no use."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Only one process at a time writes a copy of a checkpoint, or removes what another one left."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _remove_unfinished(folder: Path) -> None:
    for place in folder.glob(_UNFINISHED + "*"):
        shutil.rmtree(place, ignore_errors=True)


def _write_besides(folder: Path, place: Path, quantization: JsonObject) -> None:
    """What makes the copy a checkpoint of its own."""
    for file in folder.iterdir():
        if file.suffix in _BESIDES and file.is_file() and not file.name.endswith(".index.json"):
            shutil.copyfile(file, place / file.name)
    config: dict[str, Any] = {**read_config(folder), "quantization_config": quantization}
    (place / _CONFIG).write_text(json.dumps(config, indent=2))


def _finish(place: Path, description: JsonObject) -> None:
    (place / DESCRIPTION).write_text(json.dumps(description, indent=2))
    place.chmod(0o755)
    for file in place.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
