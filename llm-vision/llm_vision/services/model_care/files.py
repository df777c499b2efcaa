"""What a model's files say: their size, when they changed, how long the model's context is."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.base import ModelSpec
from ...runtime.weights.manifest import MANIFEST
from ...runtime.weights.reading import read_small
from ...runtime.weights.sizes import most_bytes
from ...runtime.weights.store import WeightStore

_CONFIG = "config.json"
_MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True)
class ModelFiles:
    """A model's files as they are now."""

    size_bytes: int | None
    """None where weights are missing."""
    changed_at: float | None
    """Seconds since 1970; None where there are no files."""
    context_length: int | None
    """In tokens; None where the files do not say."""


def read_files(spec: ModelSpec, weights: WeightStore) -> ModelFiles:
    """Read what is known from a model's files; they may lie on a slow volume."""
    files = list(weights.files(spec))
    return ModelFiles(_measure_size(spec, weights), find_change_time(files), read_context_length(files))


def _measure_size(spec: ModelSpec, weights: WeightStore) -> int | None:
    if spec.weights is None:
        return sum(file.stat().st_size for file in spec.weight_files() if file.is_file())
    folder = weights.folder(spec.weights)
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file()) if folder else None


def find_change_time(files: Iterable[Path]) -> float | None:
    """When the newest of the files changed; None where there are none. Our own manifest does not count."""
    return max(_read_times(file for file in files if file.name != MANIFEST), default=None)


def read_context_length(files: Iterable[Path]) -> int | None:
    """How many tokens a model takes, by its config; None where that does not say."""
    config = next((_read_config(file) for file in files if file.name == _CONFIG), {})
    text = config.get("text_config")
    length = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    return length if type(length) is int and 0 < length <= _MOST_TOKENS else None


def _read_times(files: Iterable[Path]) -> Iterator[float]:
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            yield status.st_mtime


def _read_config(config: Path) -> dict[str, Any]:
    """What stands in a file; nothing where it is no config: that is for the load to refuse."""
    try:
        value = json.loads(read_small(config, most_bytes(config.name)))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
