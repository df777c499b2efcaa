"""How large the files beside a model's weights may be: what is larger is not what its name says."""

from __future__ import annotations

from fnmatch import fnmatchcase

_MEBIBYTE = 1024 * 1024
_WORDS = ("tokenizer.json", "tokenizer.model", "vocab.*", "merges.txt", "*.index.json")
_MOST_WORDS_BYTES = 64 * _MEBIBYTE
"""Of vocabularies and lists of tensors: Gemma's tokenizer.json, among the largest, has 33 MB."""
_MOST_SETTINGS_BYTES = 4 * _MEBIBYTE
"""Of everything else that is text: a config with the names of 22,000 classes has 2 MB."""
_MOST_WEIGHTS_BYTES = 2**52  # whether they fit anywhere is asked elsewhere
_WEIGHTS = ("*.safetensors", "*.bin")


def most_bytes(name: str) -> int:
    """The most that a file of that name may have."""
    if any(fnmatchcase(name, pattern) for pattern in _WEIGHTS):
        return _MOST_WEIGHTS_BYTES
    return _MOST_WORDS_BYTES if any(fnmatchcase(name, pattern) for pattern in _WORDS) else _MOST_SETTINGS_BYTES
