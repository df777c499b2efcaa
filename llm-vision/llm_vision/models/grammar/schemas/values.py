"""Texts, constants and counts of a JSON schema, as the grammar follows them exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...base import JsonObject
from .formats import FORMATS, REFUSED_FORMATS, says_nothing_more
from .numbers import EXACT, LARGEST_NUMBER
from .patterns import is_writable, translate
from .words import UnusableSchema, is_of_types

LONGEST_MINIMUM = 1000
"""Of characters or items that an answer may have to have."""
MOST_COUNTED = 100_000
"""No answer is longer, so that greater limits are none."""


def text(schema: Mapping[str, Any]) -> JsonObject:
    """A schema of type string, or the parts that it is all of.

    Raises:
        UnusableSchema: it cannot be followed.
    """
    longest = counted(schema, "maxLength")
    written: JsonObject = {"type": "string", **least(schema, "minLength")}
    if longest is not None:
        written["maxLength"] = min(longest, MOST_COUNTED)
    patterns = list(_patterns(schema))
    if not patterns:
        return written
    first, *others = [{"type": "string", "pattern": pattern} for pattern in patterns]
    return {"allOf": [written | first, *others]} if others else written | first


def _patterns(schema: Mapping[str, Any]) -> Iterable[str]:
    name = schema.get("format")
    if name is not None and not isinstance(name, str):
        raise UnusableSchema("format must be a text")
    if name in FORMATS:
        yield f"^(?:{FORMATS[name]})$"
        if says_nothing_more(name, schema.get("pattern")):
            return
    elif name in REFUSED_FORMATS:
        raise UnusableSchema(f"these formats cannot be followed: {', '.join(sorted(REFUSED_FORMATS))}")
    if "pattern" in schema:
        yield from translate(schema["pattern"])


def counted(schema: Mapping[str, Any], word: str) -> int | None:
    """A number of characters, items or properties.

    Raises:
        UnusableSchema: it is none.
    """
    value = schema.get(word)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise UnusableSchema(f"{word} must be a whole number, 0 or more")
    return int(value)


def least(schema: Mapping[str, Any], word: str) -> JsonObject:
    """The word and how many there must be; nothing where it is not said.

    Raises:
        UnusableSchema: it is no number, or too great.
    """
    value = counted(schema, word)
    if value is not None and value > LONGEST_MINIMUM:
        raise UnusableSchema(f"{word} may be {LONGEST_MINIMUM} at most")
    return {} if value is None else {word: value}


def constants(schema: Mapping[str, Any], types: frozenset[str]) -> list[Any]:
    """The values of `const` or `enum` that are of these types.

    Raises:
        UnusableSchema: there are none, or one cannot be written.
    """
    values = schema.get("enum", [schema.get("const")])
    if not isinstance(values, list):
        raise UnusableSchema("enum must be a list")
    if "const" in schema:
        values = [value for value in values if _same(value, schema["const"])]
    fitting = [value for value in values if is_of_types(value, types)]
    if not fitting:
        raise UnusableSchema("no value of an enum or const is allowed by the rest of its schema")
    return [_writable(value) for value in fitting]


def weight(value: Any) -> int:
    """How many values a JSON value is of."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(weight, members))


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        if not all(map(is_writable, value)):
            raise UnusableSchema("a constant has a control character")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > (EXACT if value == int(value) else LARGEST_NUMBER):
            raise UnusableSchema("a constant number is too large to be exact")
        return int(value) if value == int(value) else value
    elif isinstance(value, dict):
        return {key: _writable(member) for key, member in value.items()}
    elif isinstance(value, Sequence):
        return [_writable(member) for member in value]
    return value
