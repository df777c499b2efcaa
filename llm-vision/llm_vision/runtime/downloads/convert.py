"""Makes safetensors of a pickled checkpoint. Imported in download processes only."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

from ...models.base import UnusableWeights

_MOST_TIMES = 4
"""A checkpoint's tensors and its parts, in sizes of its file: some share memory, and each gets its own."""
_SPARE_BYTES = 1024 * 1024


def convert(pickled: Path, safe: Path) -> None:
    """Write the tensors of a `pytorch_model.bin` as safetensors; nothing of it is run.

    Tensors that share memory are written each for itself, so that a model finds all names.

    Raises:
        UnusableWeights: it cannot be read, or holds something else than tensors, or far more of them than it has bytes.
        OSError: the new file cannot be written.
    """
    room = _MOST_TIMES * pickled.stat().st_size + _SPARE_BYTES
    _check_unpacked(pickled, room)
    try:
        tensors = torch.load(pickled, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # what is no pickle raises anything
        raise UnusableWeights("the pickled weights cannot be read as tensors only") from error
    if not isinstance(tensors, dict) or not all(map(_is_named_tensor, tensors.items())):
        raise UnusableWeights("the pickled weights hold something else than tensors with names")
    if sum(tensor.nbytes for tensor in tensors.values()) > room:
        raise UnusableWeights("the pickled weights claim to be far larger than their file")
    seen: set[int] = set()
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format) if address in seen else tensor.contiguous()
        seen.add(address)
    save_file(tensors, safe, metadata={"format": "pt"})


def _check_unpacked(pickled: Path, room: int) -> None:
    """Refuse an archive that grows when it is read; torch itself never compresses."""
    if not zipfile.is_zipfile(pickled):
        return
    try:
        with zipfile.ZipFile(pickled) as archive:
            sizes: Iterable[int] = [entry.file_size for entry in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UnusableWeights("the pickled weights cannot be read as tensors only") from error
    if sum(sizes) > room:
        raise UnusableWeights("the pickled weights claim to be far larger than their file")


def _is_named_tensor(entry: tuple[object, object]) -> bool:
    name, value = entry
    return isinstance(name, str) and isinstance(value, torch.Tensor)
