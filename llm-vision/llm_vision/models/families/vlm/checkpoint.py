"""What a folder of weights must be, and how it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...base import LoadContext, Quantization, UnusableWeights
from .variants import Variant

_CLASSES = {
    "llava": ("LlavaForConditionalGeneration", "CLIPImageProcessorPil"),
    "llava_next": ("LlavaNextForConditionalGeneration", "LlavaNextImageProcessorPil"),
    "llava_onevision": ("LlavaOnevisionForConditionalGeneration", "LlavaOnevisionImageProcessorPil"),
}
"""Model and picture processor of Transformers, by `model_type`."""


def check_folder(folder: Path, variant: Variant) -> None:
    """Refuse a checkpoint of another kind.

    Raises:
        UnusableWeights: its config.json is not that of the variant; the text names the right one.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, has_own_format = config.get("model_type"), "mm_vision_tower" in config
        has_own_format = has_own_format or "LlavaLlamaForCausalLM" in (config.get("architectures") or ())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UnusableWeights("config.json cannot be read") from error
    if has_own_format:  # Transformers would read it as a LLaVA of other sizes, without a word
        raise UnusableWeights(f"these files are in the format of LLaVA's authors; those of {variant.repo} are needed")
    if kind != variant.kind:
        raise UnusableWeights(f"config.json is that of another kind of model; {variant.repo} is needed")


def load_checkpoint(variant: Variant, folder: Path, context: LoadContext) -> tuple[Any, Any]:
    """The model and its picture processor.

    Raises:
        UnusableWeights: the files are not those of the variant.
    """
    import transformers

    from ...loading import bnb, hf
    from ...loading.int4 import load as int4

    model_class, processor_class = (getattr(transformers, name) for name in _CLASSES[variant.kind])
    processor = hf.load_part(processor_class, folder)
    dtype = hf.best_dtype(context.device)
    if context.quantization is Quantization.FOUR and context.device == "cpu":
        model = int4.load(model_class, folder, dtype)
    elif context.quantization is Quantization.NONE:
        model = hf.load_weights(model_class, folder, may_be_pickled=False, dtype=dtype).to(context.device)
    else:
        model = bnb.load(model_class, folder, context.device, context.quantization)
    return model, processor


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens with which the checkpoint ends its answers."""
    told = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(told if isinstance(told, list) else [told])}
    return frozenset(token for token in ends if token is not None)
