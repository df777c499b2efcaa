"""What makes Transformers put 4-bit layers into a model while it loads it, and read them again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import (
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from .linear import GROUP, Int4Linear, Scratch, Shape, fits, quantize, unit_height

METHOD = "llm_vision_int4"
"""`quant_method` in the config.json of a folder with 4-bit weights."""


class Int4Config(QuantizationConfigMixin):
    """The entry of config.json."""

    def __init__(self, group_size: int = GROUP, **_: Any) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]
        self.group_size = group_size


class _Quantize(ConversionOps):
    """Turns a weight into four bits as soon as it is read."""

    @torch.no_grad()
    def convert(self, input_dict: dict[str, Any], *_: Any, **context: Any) -> dict[str, Any]:
        (weight,) = next(iter(input_dict.values()))
        name = context["full_layer_name"]
        units, scales = quantize(weight)  # a weight of another size is noticed by that of its scales
        return {name: units, name.removesuffix("weight") + "scales_and_zeros": scales}


class Int4Quantizer(HfQuantizer):
    """Exchanges the linear layers of the parts that hold most of a model, and of nothing else."""

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> Any:
        for part in _large_parts(model):
            linears = [(path, module) for path, module in part.named_modules() if isinstance(module, nn.Linear)]
            for path, linear in linears:
                if fits(linear):
                    shape = Shape(linear.in_features, linear.out_features, linear.bias is not None)
                    part.set_submodule(path, Int4Linear(shape, linear.weight.dtype))
        return model

    def param_needs_quantization(self, model: Any, param_name: str, **context: Any) -> bool:
        """Whether a tensor of a checkpoint that is not quantised yet becomes one of four bits."""
        path, _, name = param_name.rpartition(".")
        return name == "weight" and not self.pre_quantized and isinstance(model.get_submodule(path), Int4Linear)

    def get_quantize_ops(self) -> ConversionOps:
        """What `param_needs_quantization` announces."""
        return _Quantize()

    def is_serializable(self) -> bool:
        """Its folders are written by `_int4_copy`."""
        return False

    @property
    def is_trainable(self) -> bool:
        """Four bits cannot be trained."""
        return False


def _large_parts(model: Any) -> list[nn.Module]:
    """A LLaVA's language model; the layers of a `VisionEncoderDecoderModel` with a ViT and a BERT."""
    if model.config.is_encoder_decoder:
        return [model.encoder, model.decoder.bert.encoder]
    return [model.get_decoder()]


def register() -> None:
    """Tell Transformers what `METHOD` is."""
    if METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantization_config(METHOD)(Int4Config)
        register_quantizer(METHOD)(Int4Quantizer)


def prepare(model: nn.Module, dtype: torch.dtype) -> None:
    """Make what was loaded ready for this processor, one layer after the other."""
    layers = [module for module in model.modules() if isinstance(module, Int4Linear)]
    height = unit_height()
    scratch = Scratch(max(layer.shape.inputs for layer in layers), height, dtype) if height and layers else None
    for layer in layers:
        layer.prepare(scratch)
