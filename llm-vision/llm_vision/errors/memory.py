"""Whether the exception of a library says that memory ran out: most have no class of their own for it."""

from __future__ import annotations

import errno

_CLASSES = ("OutOfMemoryError", "OutOfMemory")
_WORDS = ("can't allocate memory", "Failed to allocate memory", "bad_alloc", "bad allocation", "can't start new thread")
"""Of torch's allocator for the CPU, of onnxruntime's, of C++, and of a thread whose stack has no room."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it does."""
    if isinstance(error, MemoryError) or type(error).__name__ in _CLASSES:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(words in str(error) for words in _WORDS)
