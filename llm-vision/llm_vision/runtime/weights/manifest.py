"""manifest.json beside weights: which files belong to a model, how large they are, and their sha256."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ...models.base import UnusableWeights
from .reading import read_small

MANIFEST = "manifest.json"
_FORMAT = 1
_MOST_BYTES = 1024 * 1024
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NEVER = ("*.py", MANIFEST)
_WEIGHT_FILES = (
    "config*.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "image_processor_config.json", "video_preprocessor_config.json", "chat_template.json", "chat_template.jinja",
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.*", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin",
)  # fmt: skip


@dataclass(frozen=True)
class FileRecord:
    """A file as it was when the manifest was written."""

    size: int
    """Bytes."""
    sha256: str
    """In hexadecimal digits."""


@dataclass(frozen=True)
class Manifest:
    """What belongs into a folder of weights."""

    files: Mapping[str, FileRecord]
    downloaded: bool = False
    """Whether this service has fetched the files; else they are the user's own."""
    repo: str | None = None
    commit: str | None = None
    repairs: int = 0
    """How often damaged files were fetched again."""
    converted_from: str | None = None
    """sha256 of the `pytorch_model.bin` that the safetensors were made of."""


def record_of(path: Path) -> FileRecord:
    """What to record of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return FileRecord(opened.tell(), digest)


def is_weight_file(name: str) -> bool:
    """Whether a file of that name is one that models load: never code, never a path."""
    if not _SAFE_NAME.fullmatch(name) or any(fnmatchcase(name, pattern) for pattern in _NEVER):
        return False
    return any(fnmatchcase(name, pattern) for pattern in _WEIGHT_FILES)


def weight_files(folder: Path) -> list[Path]:
    """The files of a folder that models load, by name."""
    return sorted(file for file in folder.iterdir() if is_weight_file(file.name) and file.is_file())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder; None when it has none.

    Raises:
        UnusableWeights: there is one that cannot be read.
    """
    try:
        content = json.loads(read_small(folder / MANIFEST, _MOST_BYTES))
        if content.pop("format") != _FORMAT:
            raise ValueError
        files = {name: FileRecord(**record) for name, record in content.pop("files").items()}
        if not all(map(is_weight_file, files)):
            raise ValueError
        return Manifest(files, **content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnusableWeights("manifest.json cannot be read; when the files are right, remove it") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a folder, at once as a whole.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=1, sort_keys=True) + "\n"
    unfinished = folder / f".{MANIFEST}.{os.getpid()}"
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / MANIFEST)
