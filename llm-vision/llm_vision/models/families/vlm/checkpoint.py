"""What a folder of weights must be, and how it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...base import JsonObject, LoadContext, Quantization, UnusableWeights


def read_config(folder: Path) -> JsonObject:
    """The config.json of a folder.

    Raises:
        UnusableWeights: it cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnusableWeights("config.json cannot be read") from error
    if not isinstance(config, dict):
        raise UnusableWeights("config.json cannot be read")
    return config


def load_checkpoint(classes: tuple[str, str], folder: Path, context: LoadContext) -> tuple[Any, Any]:
    """A model and its picture processor.

    Args:
        classes: their names in Transformers.
        folder: with the weights.
        context: the device, and how many bits.

    Raises:
        UnusableWeights: the files are not those of such a model.
    """
    import transformers

    from ...loading import bnb, hf
    from ...loading.int4 import load as int4

    model_class, processor_class = (getattr(transformers, name) for name in classes)
    processor = hf.load_part(processor_class, folder)
    dtype = hf.best_dtype(context.device)
    if context.quantization is Quantization.FOUR and context.device == "cpu":
        model = int4.load(model_class, folder, dtype)
    elif context.quantization is Quantization.NONE:
        model = hf.load_weights(model_class, folder, may_be_pickled=False, dtype=dtype).to(context.device)
    else:
        model = bnb.load(model_class, folder, context.device, context.quantization)
    return model, processor


def find_end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens with which the checkpoint ends its answers."""
    told = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(told if isinstance(told, list) else [told])}
    return frozenset(token for token in ends if token is not None)
