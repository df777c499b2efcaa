"""Makes safetensors of a pickled checkpoint. Imported in download processes only."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from ...models.base import UnusableWeights


def convert(pickled: Path, safe: Path) -> None:
    """Write the tensors of a `pytorch_model.bin` as safetensors; nothing of it is run.

    Tensors that share memory are written each for itself, so that a model finds all names.

    Raises:
        UnusableWeights: it cannot be read, or holds something else than tensors.
        OSError: the new file cannot be written.
    """
    try:
        tensors = torch.load(pickled, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # what is no pickle raises anything
        raise UnusableWeights("the pickled weights cannot be read as tensors only") from error
    if not isinstance(tensors, dict) or not all(map(_is_named_tensor, tensors.items())):
        raise UnusableWeights("the pickled weights hold something else than tensors with names")
    seen: set[int] = set()
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format) if address in seen else tensor.contiguous()
        seen.add(address)
    save_file(tensors, safe, metadata={"format": "pt"})


def _is_named_tensor(entry: tuple[object, object]) -> bool:
    name, value = entry
    return isinstance(name, str) and isinstance(value, torch.Tensor)
