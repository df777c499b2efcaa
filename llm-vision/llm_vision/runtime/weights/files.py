"""Files of a model are files: no device, pipe or folder in their place, and none larger than its name allows."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

from ...models.base import UnusableWeights
from .manifest import is_weight_file
from .reading import read_small
from .sizes import most_bytes

_READ_BY_LIBRARIES = (".json", ".jinja")
_INNER_FOLDERS = (".int4", "additional_chat_templates")


def check_files(folder: Path) -> None:
    """Refuse a folder in which a library would read without end. Links are followed: hub caches consist of them.

    Raises:
        UnusableWeights: something there is no regular file, cannot be read, or is far too large.
    """
    for file in _files(folder):
        name = file.name if is_weight_file(file.name) else f"a {file.suffix} file"
        try:
            state = file.stat()
        except OSError:
            raise UnusableWeights(f"{name} cannot be read") from None
        if stat.S_ISDIR(state.st_mode):
            continue  # the load says what is missing
        if not stat.S_ISREG(state.st_mode):
            raise UnusableWeights(f"{name} is a device or a pipe, not a file")
        if state.st_size > most_bytes(file.name):
            raise UnusableWeights(f"{name} has {state.st_size >> 20} MiB; it may have {most_bytes(file.name) >> 20}")
    for index in folder.glob("*.index.json"):
        if not all(isinstance(name, str) and is_weight_file(name) for name in _named_in(index)):
            raise UnusableWeights("the index of the weights names files that are elsewhere, or no weights")


def _files(folder: Path) -> Iterator[Path]:
    """What models and their libraries read there."""
    for place in (folder, *(folder / name for name in _INNER_FOLDERS)):
        if place.is_dir():
            yield from (
                file for file in place.iterdir() if is_weight_file(file.name) or file.suffix in _READ_BY_LIBRARIES
            )


def _named_in(index: Path) -> list[object]:
    """The files that an index names; none where it cannot be read, which the load says."""
    try:
        return list(json.loads(read_small(index, most_bytes(index.name)))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
