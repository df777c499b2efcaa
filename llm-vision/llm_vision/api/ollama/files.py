"""What a model's files tell: when they have changed, and how long its context is."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...runtime.weights.manifest import MANIFEST

_CONFIG = "config.json"


def changed_at(files: Iterable[Path]) -> float | None:
    """When the newest of the files changed; None where there are none. Our own manifest does not count."""
    return max(_times(file for file in files if file.name != MANIFEST), default=None)


def context_length(files: Iterable[Path]) -> int | None:
    """How many tokens a model takes, as its config tells; None where it does not."""
    config = next((_read(file) for file in files if file.name == _CONFIG), {})
    text = config.get("text_config")
    length = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    return length if type(length) is int and length > 0 else None


def _times(files: Iterable[Path]) -> Iterator[float]:
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            yield found.st_mtime


def _read(config: Path) -> dict[str, Any]:
    """What stands in a file; nothing where it is no config: that is for the load to refuse."""
    try:
        found = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
