"""Gives memory back to the system that a process has freed: the C library keeps it for what comes next."""

from __future__ import annotations

import ctypes
from functools import cache

IDLE_SECONDS = 2.0
"""Without work, until it is given back. Not after each batch: taking it again makes a page a quarter slower."""


def give_back() -> None:
    """Return what is free; where the C library (glibc) has no way to, nothing happens. Takes some 10 ms."""
    trim = _malloc_trim()
    if trim:
        trim(0)


@cache
def _malloc_trim() -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
