"""Whether a tokenizer splits plain text in a plain time: its expressions come with the weights."""

from __future__ import annotations

from typing import Any

from ...base import UnusableWeights
from ...loading.patience import TooCostly, run_within

_SECONDS = 10.0
"""Of processor time for all probes; the tokenizers of published checkpoints take some ten milliseconds."""
_LENGTH = 2000
_RUNS = ("a", "A", "aA", "1", " ", "a ", "!", "-", "\n", " \n", "é", "あ", "漢", "a1", "'", "\u0301")
PROBES = [run * (_LENGTH // len(run)) + end for run in _RUNS for end in ("", "!", "a", "\0")]
"""One character again and again, then another: where an expression that explodes does so."""


def check_tokenizer(tokenizer: Any) -> None:
    """Split texts that are long for many expressions.

    Raises:
        UnusableWeights: it takes too long, or fails.
    """
    try:
        run_within(_SECONDS, lambda: _split_all(tokenizer.backend_tokenizer))
    except TooCostly as error:
        raise UnusableWeights("the tokenizer computes for too long on plain text") from error


def _split_all(backend: Any) -> None:
    """One text after the other: several at once would be split in threads whose time nobody measures."""
    for probe in PROBES:
        backend.encode_batch([probe])
