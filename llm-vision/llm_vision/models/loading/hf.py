"""What the families of Transformers models share: number formats, and weights that are right or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from ...errors.memory import is_out_of_memory
from ..base import UnusableWeights

if TYPE_CHECKING:
    import torch

_PICKLED, _SAFE = "*.bin", "*.safetensors"
_MOST_PER_BYTE = 2
"""Parameters in a byte of weights: those of 4 bits."""
_MOST_BUFFERS = 2**26
"""Numbers beside the weights, of positions and the like."""
_FAST_BF16 = frozenset({"amx_bf16", "avx512_bf16"})
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines"})
_KERNEL_KEYS = ("_attn_implementation", "attn_implementation")
_IGNORED_BUFFERS = ("position_ids",)  # written by old versions of Transformers, computed by new ones


def best_dtype(device: str) -> torch.dtype:
    """bf16 where the hardware multiplies it, else fp16 on a GPU and fp32 on a CPU."""
    import torch

    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if _FAST_BF16 & _cpu_flags() else torch.float32


def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())


def check_config(folder: Path) -> None:
    """Refuse a config that would have Transformers fetch or run code: modules of its own, kernels of the hub.

    Raises:
        UnusableWeights: it does, or it is damaged.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableWeights("config.json cannot be read") from error
    if any(name in _CODE_KEYS or name.startswith(_KERNEL_KEYS) for name in _keys(config)):
        raise UnusableWeights("config.json names code outside Transformers, which is never run")


def _keys(value: object) -> Iterator[str]:
    """All keys in it, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def check_extent(model_class: Any, folder: Path) -> None:
    """Refuse a config of a larger model than the weights can be: what they lack would be made up before it is missed.

    Raises:
        UnusableWeights: it describes one, or no model of the class.
    """
    import torch
    from transformers.initialization import no_init_weights

    try:
        config = model_class.config_class.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"), no_init_weights():
            model = model_class(config)
    except Exception as error:  # whatever the numbers in it lead to
        if is_out_of_memory(error):
            raise MemoryError from error
        raise UnusableWeights(f"config.json describes no model ({type(error).__name__})") from error
    described = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    held = sum(file.stat().st_size for pattern in (_SAFE, _PICKLED) for file in folder.glob(pattern))
    if described > held * _MOST_PER_BYTE + _MOST_BUFFERS:
        raise UnusableWeights("config.json describes a larger model than the weights are")


def load_part(part_class: Any, folder: Path) -> Any:
    """A tokenizer or processor of a checkpoint, of a class of Transformers.

    Raises:
        UnusableWeights: its files are missing, damaged, or ask for other code.
    """
    try:
        return part_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableWeights(f"{part_class.__name__} cannot be read ({type(error).__name__})") from error


def load_weights(model_class: Any, folder: Path, *, may_be_pickled: bool, **options: Any) -> Any:
    """A model of a Transformers class with exactly the weights of a folder; no code from it is run.

    Args:
        model_class: has `from_pretrained`.
        folder: the checkpoint.
        may_be_pickled: whether a `.bin` is read (as tensors only) where there are no safetensors.
        options: for `from_pretrained`.

    Raises:
        UnusableWeights: files are missing, damaged, or not those of this model.
        MemoryError: there is no memory for them.
    """
    check_config(folder)
    is_safe = any(folder.glob(_SAFE))
    if not is_safe and not (may_be_pickled and any(folder.glob(_PICKLED))):
        raise UnusableWeights("there are no weights in the folder: safetensors are needed")
    check_extent(model_class, folder)
    return load_strictly(model_class, folder, local_files_only=True, use_safetensors=is_safe, **options)


def load_strictly(model_class: Any, folder: Path | None, **options: Any) -> Any:
    """What `from_pretrained` returns, ready to run, when the weights are exactly those of the model.

    Raises:
        UnusableWeights: they are damaged, or not those of this model.
        MemoryError: there is no memory for them.
    """
    from safetensors import SafetensorError

    try:
        model, info = model_class.from_pretrained(folder, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, UnpicklingError) as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise UnusableWeights(f"the weights cannot be read ({type(error).__name__})") from error
    unexpected = [name for name in info["unexpected_keys"] if not name.endswith(_IGNORED_BUFFERS)]
    different = len(info["missing_keys"]) + len(info["mismatched_keys"]) + len(unexpected)
    if different:
        raise UnusableWeights(f"{different} of the weights are missing, left over or of another shape")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise UnusableWeights("some weights were not loaded")
    return model.eval()
