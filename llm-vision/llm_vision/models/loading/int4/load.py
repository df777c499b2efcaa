"""Loads a model with its large parts in 4 bits, for the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from ...base import JsonObject, UnusableWeights
from .. import hf
from . import copy, hooks
from .copy import log
from .linear import GROUP


def load(model_class: Any, folder: Path, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A model whose linear layers in its large parts hold 4-bit weights; all else has `dtype`.

    The first load quantises tensor by tensor and keeps a copy in `.int4` in the folder, where there is space and
    it may be written; later loads read that copy while the checkpoint is the same.

    Args:
        model_class: of Transformers: a LLaVA, or a `VisionEncoderDecoderModel` with a BERT.
        folder: a checkpoint in safetensors, or such a copy of one.

    Raises:
        UnusableWeights: files are missing, damaged, or not those of this model.
    """
    hf.check_config(folder)
    hf.check_extent(model_class, folder)
    _refuse_other_quantization(folder)
    hooks.register()
    description = copy.describe(folder, GROUP)
    model = _from_copy(model_class, folder, dtype, description)
    if model is None and (folder / copy.DESCRIPTION).exists():
        model = _loaded(model_class, folder, dtype)
    elif model is None:
        config = hooks.Int4Config()
        model = _loaded(model_class, folder, dtype, quantization_config=config)
        copy.keep(folder, model.state_dict(), config.to_dict(), description)
    hooks.prepare(model, dtype)
    return model


def _from_copy(model_class: Any, folder: Path, dtype: torch.dtype, description: JsonObject) -> Any:
    kept = copy.usable(folder, description)
    if kept is None:
        return None
    try:
        return _loaded(model_class, kept, dtype)
    except UnusableWeights:
        log.warning("the copy of the 4-bit weights is damaged: it is made again")
        copy.remove(folder)
        return None


def _refuse_other_quantization(folder: Path) -> None:
    config = copy.read_config(folder)
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        quantization = part.get("quantization_config")
        if quantization is not None and (
            not isinstance(quantization, dict) or quantization.get("quant_method") != hooks.METHOD
        ):
            raise UnusableWeights("the weights are already quantized in an unsupported way")


def _loaded(model_class: Any, folder: Path, dtype: torch.dtype, **options: Any) -> Any:
    """Read without mapping the files into memory: mapped pages of the whole checkpoint would count as ours."""
    try:
        paths = copy.weight_files(folder)
        files: list[Any] = [safe_open(path, framework="pt", backend="pread") for path in paths]
        tensors = {name: file.get_slice(name) for file in files for name in file.keys()}  # noqa: SIM118
        config = model_class.config_class.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise UnusableWeights(f"the weights cannot be read ({type(error).__name__})") from error
    model = hf.load_strictly(model_class, None, config=config, dtype=dtype, state_dict=tensors, **options)
    if (folder / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model
