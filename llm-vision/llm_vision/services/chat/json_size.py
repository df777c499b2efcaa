"""How large a JSON value is, without writing it down."""

from __future__ import annotations

from typing import Any


def is_larger(value: Any, limit: int) -> bool:
    """Whether a JSON value has more than about so many characters; looks no further than that."""
    size, waiting = 0, [value]
    while waiting and size <= limit:
        one = waiting.pop()
        size += 1
        if isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str):
            size += len(one)
        elif isinstance(one, int):
            size += one.bit_length() // 3
    return size > limit
