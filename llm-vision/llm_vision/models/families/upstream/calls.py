"""The calls of tools in a stream of chunks: put together, offered by the request, and no larger than a client's."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel, Field

from ...base import JsonObject
from .errors import not_offered, not_understood

MOST_CALLS = 128
"""Of one answer; OpenAI's own limit."""
MAX_DEPTH = 64
"""Of the JSON of arguments, as in bodies of clients."""


class FunctionPiece(BaseModel):
    """What a chunk adds to a call."""

    name: str | None = None
    arguments: str | None = None


class CallPiece(BaseModel):
    """The same, with the call's place among the others."""

    index: int = Field(0, ge=0, lt=MOST_CALLS)
    function: FunctionPiece = FunctionPiece()


class Calls:
    """The calls of one answer.

    Args:
        offered: names of the tools that may be called.
    """

    def __init__(self, offered: Collection[str]) -> None:
        self._offered = offered
        self._pieces: dict[int, list[FunctionPiece]] = {}

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, pieces: Sequence[CallPiece]) -> None:
        """Take in what a chunk says.

        Raises:
            Failed: nothing may be called.
        """
        if pieces and not self._offered:
            raise not_offered()
        for piece in pieces:
            self._pieces.setdefault(piece.index, []).append(piece.function)

    def as_text(self) -> str:
        """All calls as text, as models of our own write them; see `tool_text`.

        Raises:
            Failed: one is of a tool that is not offered, or its arguments are no JSON object.
        """
        calls = [self._call(pieces) for _, pieces in sorted(self._pieces.items())]
        return json.dumps(calls, ensure_ascii=False)

    def _call(self, pieces: Sequence[FunctionPiece]) -> JsonObject:
        name = "".join(piece.name or "" for piece in pieces)
        if name not in self._offered:
            raise not_offered()
        return {"name": name, "arguments": _parse("".join(piece.arguments or "" for piece in pieces) or "{}")}


def _parse(text: str) -> JsonObject:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        raise not_understood() from None
    if not isinstance(value, dict) or _is_deeper(value, MAX_DEPTH):
        raise not_understood()
    return value


def _unique(pairs: Sequence[tuple[str, Any]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("the same key twice")
    return members


def _refuse(name: str) -> float:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value has more levels; looks at one after the other."""
    level = [value]
    for _ in range(levels + 1):
        level = [inner for one in level for inner in _members(one)]
    return bool(level)


def _members(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
