"""What the process of an answer's grammar and the model say to each other; no library is imported for it."""

from __future__ import annotations

from dataclasses import dataclass

MASK, REFUSED, ENDED = b"m", b"r", b"e"
"""First byte of a message to the model; behind it, in this order: a bit for each token, the lowest first; an error as
JSON with its code, detail and param; the exit status of the process, a signal as a negative number.

To the process: first the format of the answer as JSON, then each chosen token in TOKEN_BYTES.
"""
TOKEN_BYTES = 4
LONGEST_REQUEST = 128 * 1024
"""Bytes: what a socket takes while nobody reads yet. Schemas may have half of it."""
GAVE_UP = 71
"""Exit status of a process that could not go on with its schema. Out of memory, llguidance aborts it."""


@dataclass(frozen=True)
class GrammarLimits:
    """What the process of one answer may use."""

    cpu_seconds: int = 2
    """For the grammar and the first token; the costliest sound schema of the tests takes a fifth."""
    tokens_a_second: int = 100
    """Behind each so many tokens it gets another second; as a rule they take a hundredth of that."""
    memory_bytes: int = 256 * 1024 * 1024
    """Of addresses, beside those of the tokenizer."""


USUAL_LIMITS = GrammarLimits()
