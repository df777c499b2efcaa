"""Weights of 8 or 4 bits on a GPU, by bitsandbytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..base import Quantization
from . import hf

_NOT_QUANTIZED = [r"(?!model\.language_model\.).*"]
"""All but the language model of a vision-language model: the other parts are small, and suffer most."""


def load(model_class: Any, folder: Path, device: str, bits: Quantization) -> Any:
    """A model whose language model has 4 bits (NF4, its constants quantised too) or 8 (LLM.int8).

    Dettmers et al.: QLoRA (2023) and LLM.int8() (2022).

    Raises:
        UnusableWeights: files are missing, damaged, or not those of this model.
    """
    from transformers import BitsAndBytesConfig

    dtype = hf.best_dtype(device)
    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=bits is Quantization.FOUR,
        load_in_8bit=bits is Quantization.EIGHT,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=_NOT_QUANTIZED,
    )
    return hf.load_weights(
        model_class, folder, may_be_pickled=False, dtype=dtype, quantization_config=config, device_map={"": device}
    )
