"""Numbers in a model's settings are those of a model: no picture 100,000 pixels wide, no million layers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...models.base import UnusableWeights
from .reading import read_small
from .sizes import most_bytes

_MOST_BY_NAME: Mapping[str, float] = {
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "encoder_layers"), 1024),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "num_heads", "n_head", "decoder_layers"), 1024),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "embed_dim", "head_dim", "projection_dim"), 2**17),
    **dict.fromkeys(("intermediate_size", "encoder_hidden_size", "image_text_hidden_size"), 2**19),
    "vocab_size": 2**23,
    "max_position_embeddings": 2**25,
    **dict.fromkeys(("num_channels", "num_beams", "num_beam_groups", "num_return_sequences"), 64),
    **dict.fromkeys(("image_size", "height", "width", "crop_size", "size", "pad_size", "image_grid_pinpoints"), 4096),
    **dict.fromkeys(("longest_edge", "max_edge", "max_size"), 4096),
    "shortest_edge": 1024,
    **dict.fromkeys(("patch_size", "merge_size", "temporal_patch_size", "spatial_merge_size", "max_patches"), 1024),
}
"""The largest model that is published has half of these or less. An edge is the short one of a picture whose long one
may be 200 times as long."""
_PIXELS = 2**26
_COUNTS_PIXELS: Mapping[str, float] = dict.fromkeys(("shortest_edge", "longest_edge"), _PIXELS)
"""What Qwen's processors call an edge is a number of pixels."""
_MOST_PINPOINTS = 256
_MOST_IN_PROCESSORS = _PIXELS
_FILES = ("config.json", "generation_config.json")
_OF_PROCESSORS = ("preprocessor_config.json", "processor_config.json", "image_processor_config.json")


def check_numbers(folder: Path) -> None:
    """Refuse settings with numbers that would cost memory or time before anything is found to be wrong with them.

    Raises:
        UnusableWeights: a number is above what any model has; the text names it.
    """
    for name in (*_FILES, *_OF_PROCESSORS):
        settings = _read(folder / name)
        is_of_processor = name in _OF_PROCESSORS
        is_of_qwen = any(isinstance(value, str) and "Qwen" in value for _, value in _members(settings))
        most = {**_MOST_BY_NAME, **_COUNTS_PIXELS} if is_of_qwen else _MOST_BY_NAME
        for key, number in _numbers(settings):
            limit = most.get(key, _MOST_IN_PROCESSORS if is_of_processor else math.inf)
            if abs(number) > limit:
                raise UnusableWeights(f"{name}: {_shown(key)} is above {limit:g}, which no model has")
        for pinpoints in _values_of(settings, "image_grid_pinpoints"):
            if isinstance(pinpoints, list) and len(pinpoints) > _MOST_PINPOINTS:
                raise UnusableWeights(f"{name}: image_grid_pinpoints are more than {_MOST_PINPOINTS}")


def _read(file: Path) -> Any:
    """None where there is no such file, or it is no JSON: then the load says so."""
    try:
        return json.loads(read_small(file, most_bytes(file.name)))
    except (OSError, ValueError, RecursionError):
        return None


def _members(settings: Any) -> Iterator[tuple[str, Any]]:
    """All values with their keys, however deep; those of a list have the list's."""
    waiting: list[tuple[str, Any]] = [("", settings)]
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value, dict):
            waiting += value.items()
        elif isinstance(value, list):
            waiting += ((key, inner) for inner in value)


def _numbers(settings: Any) -> Iterator[tuple[str, float]]:
    return (
        (key, value)
        for key, value in _members(settings)
        if isinstance(value, int | float) and not isinstance(value, bool)
    )


def _values_of(settings: Any, name: str) -> Iterator[Any]:
    return (value for key, value in _members(settings) if key == name)


def _shown(key: str) -> str:
    """A key that is not one of ours may be anything."""
    return key if key in _MOST_BY_NAME else "a number"
