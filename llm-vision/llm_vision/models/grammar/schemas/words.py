"""The words of JSON schemas: which there are, and of which types they speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .formats import is_defined


class UnusableSchema(ValueError):
    """A schema that cannot be followed; the text says why, in our own words."""


OF_TYPE = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "array": frozenset({"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset(
        {"properties", "patternProperties", "additionalProperties", "propertyNames", "required", "minProperties",
         "maxProperties"}
    ),
}  # fmt: skip
"""Words that say something of one type only."""
TYPES = frozenset({"null", "boolean", "integer", *OF_TYPE})
ANY = TYPES - {"integer"}
"""All values: integers are numbers."""
VALUES = frozenset({"const", "enum"})
IN_PLACE = frozenset({"$ref", "anyOf", "oneOf", "allOf"})
"""Words whose schemas speak of the same value."""
ALL = frozenset({"type", *VALUES, *IN_PLACE}).union(*OF_TYPE.values())
"""What is followed. Other words are remarks, or unknown, which JSON schema says to pass over."""
NOT_FOLLOWED = frozenset({
    "not", "if", "dependencies", "dependentRequired", "dependentSchemas", "contains", "unevaluatedItems",
    "unevaluatedProperties", "$dynamicRef", "$recursiveRef", "extends", "disallow", "divisibleBy",
})  # fmt: skip
"""Words that would have to be followed and cannot be."""


def words_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """The words of a schema that say something about its values.

    Raises:
        UnusableSchema: one of them cannot be followed.
    """
    if NOT_FOLLOWED & schema.keys():
        names = ", ".join(sorted(NOT_FOLLOWED - {"extends", "disallow", "divisibleBy"}))
        raise UnusableSchema(f"the schema uses a keyword that cannot be followed; these are: {names}")
    return ALL & _telling(schema)


def types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """The types that a schema names, or else those of which its words speak; every type where none do.

    Raises:
        UnusableSchema: it names a type that there is not.
    """
    named = schema.get("type")
    if named is not None:
        names = named if isinstance(named, list) else [named]
        if not names or not all(isinstance(name, str) and name in TYPES for name in names):
            raise UnusableSchema(f"type must be one or several of {', '.join(sorted(TYPES))}")
        return frozenset(names) - ({"integer"} if "number" in names else set())
    telling = _telling(schema)
    spoken = frozenset(name for name, words in OF_TYPE.items() if words & telling)
    return spoken or ANY


def _telling(schema: Mapping[str, Any]) -> frozenset[str]:
    """The words of a schema, without those that say nothing by their value."""
    silent = set() if is_defined(schema.get("format")) else {"format"}
    if schema.get("uniqueItems") is False:
        silent.add("uniqueItems")
    return frozenset(schema.keys() - silent)


def type_of(value: Any) -> str:
    """The type of a JSON value; `integer` also for 1.0."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if value == int(value) else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def is_of_types(value: Any, types: frozenset[str]) -> bool:
    """Whether a JSON value is of one of these types."""
    name = type_of(value)
    return name in types or (name == "integer" and "number" in types)
