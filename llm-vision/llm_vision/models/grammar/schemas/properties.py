"""Properties of objects in a JSON schema: which there are, and how many there may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...base import JsonObject
from . import values
from .patterns import translate
from .words import VALUES, UnusableSchema, types_of, words_of

MOST_PROPERTIES = 256
"""Of one object; also the most options of one union."""
MOST_PATTERNS = 4
"""Of property names in one object: each is compared with each."""
MOST_COUNTED_PROPERTIES = 64
"""Of an object that says how many of them there must be."""


def members(schema: Mapping[str, Any]) -> tuple[JsonObject, JsonObject, Any]:
    """Schemas of properties by name, by pattern, and of all others; None where that is not said."""
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    rest = schema.get("additionalProperties")
    if not isinstance(properties, dict) or not isinstance(patterns, dict):
        raise UnusableSchema("properties and patternProperties must be objects")
    if "propertyNames" in schema:
        properties, patterns, rest = _with_names(schema["propertyNames"], properties, patterns, rest)
    if len(properties) > MOST_PROPERTIES or len(patterns) > MOST_PATTERNS:
        raise UnusableSchema(f"an object may name {MOST_PROPERTIES} properties, or {MOST_PATTERNS} patterns of names")
    if properties and patterns:  # the library would join the schemas of a name and of its pattern, without limit
        raise UnusableSchema("an object may have properties or patternProperties, not both")
    return properties, patterns, rest


def name_pattern(pattern: str) -> str:
    writable, *others = translate(pattern)
    if others:
        raise UnusableSchema("a pattern of names speaks of control characters")
    return writable


def _with_names(
    names: Any, properties: JsonObject, patterns: JsonObject, rest: Any
) -> tuple[JsonObject, JsonObject, Any]:
    words = words_of(names) - {"type"} if isinstance(names, dict) else frozenset({"?"})
    if names is True or (not words and types_of(names) >= {"string"}):
        return properties, patterns, rest
    others = True if rest is None else rest
    if words & VALUES == words and not properties and not patterns:
        return dict.fromkeys(values.constants(names, frozenset({"string"})), others), {}, False
    if words == frozenset({"pattern"}) and not properties and not patterns:
        return {}, {names["pattern"]: others}, False
    raise UnusableSchema("propertyNames may be an enum or a pattern, in an object that names no properties itself")


def counted_properties(schema: Mapping[str, Any], named: int, required: int, is_closed: bool) -> JsonObject:
    least, most = values.counted(schema, "minProperties") or 0, values.counted(schema, "maxProperties")
    written: JsonObject = {}
    if least > required + 1 and not (is_closed and least <= named):  # a model may write one name twice
        raise UnusableSchema("minProperties may be one more than the required properties")
    if least > required:
        written["minProperties"] = least
    if most is not None and not (is_closed and most >= named):
        written["maxProperties"] = min(most, values.MOST_COUNTED)
    if written and named > MOST_COUNTED_PROPERTIES:
        raise UnusableSchema(f"an object with counted properties may name {MOST_COUNTED_PROPERTIES}")
    return written


def required_names(schema: Mapping[str, Any]) -> list[str]:
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise UnusableSchema("required must be a list of names")
    if len(required) > MOST_PROPERTIES:
        raise UnusableSchema(f"an object may name {MOST_PROPERTIES} properties")
    return required
