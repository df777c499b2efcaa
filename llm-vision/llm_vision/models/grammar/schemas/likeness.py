"""Keeps answers of a schema apart from calls of tools, which are told from them by their shape alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...base import JsonObject

_MEMBERS = {"name": "string", "arguments": "object"}
"""What makes an object a call, and of which types."""
_OTHERS: list[JsonObject] = [
    *({"type": name} for name in ("null", "boolean", "number", "string")),
    *({"type": "object", "properties": {name: False}} for name in reversed(_MEMBERS)),
]
_NO_CALLS: JsonObject = {
    "anyOf": [*_OTHERS, {"type": "array", "prefixItems": [{"anyOf": [*_OTHERS, {"type": "array"}]}]}]
}
"""Neither a call nor a list that begins with one; stricter, since no object has both members of a call."""

Definitions = Mapping[str, JsonObject | bool]


def apart_from_calls(written: JsonObject, definitions: Definitions) -> JsonObject:
    """The schema, without the answers that could be taken for calls where it allows any.

    Args:
        written: as a writer wrote it.
        definitions: all those that schemas refer to.
    """
    look = _Look(definitions)
    return {"allOf": [written, _NO_CALLS]} if look.may_be(written, "calls") else written


class _Look:
    """Tells whether a schema may allow something of a shape; where that is not clear, it may."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._known: dict[tuple[str, str], bool] = {}

    def may_be(self, schema: Any, shape: str) -> bool:
        if not isinstance(schema, dict):
            return bool(schema)
        if "$ref" in schema:
            return self._definition_may_be(schema["$ref"].rpartition("/")[2], shape)
        for word, joined in (("anyOf", any), ("allOf", all)):
            if word in schema:
                return joined(self.may_be(part, shape) for part in schema[word])
        if "enum" in schema:
            return any(_is(value, shape) for value in schema["enum"])
        return self._may_be_of_type(schema.get("type", shape), schema, shape)

    def _may_be_of_type(self, kind: str, schema: JsonObject, shape: str) -> bool:
        if shape == "calls" and kind == "array":
            first = [*schema.get("prefixItems", ()), schema.get("items", True)][0]
            return schema.get("maxItems") != 0 and self.may_be(first, "call")
        if shape in {"call", "calls"} and kind == "object":
            return self._may_have_members(schema)
        return kind == shape

    def _definition_may_be(self, name: str, shape: str) -> bool:
        if (name, shape) not in self._known:
            self._known[name, shape] = True  # for those inside of it that refer to it again
            self._known[name, shape] = self.may_be(self._definitions[name], shape)
        return self._known[name, shape]

    def _may_have_members(self, schema: JsonObject) -> bool:
        others = True if "patternProperties" in schema else schema.get("additionalProperties", True)
        properties = schema.get("properties", {})
        return _MEMBERS.keys() >= {*schema.get("required", ())} and all(
            self.may_be(properties.get(name, others), kind) for name, kind in _MEMBERS.items()
        )


def _is(value: Any, shape: str) -> bool:
    if shape == "calls" and isinstance(value, list):
        return bool(value) and _is(value[0], "call")
    if shape in {"call", "calls"}:
        return isinstance(value, dict) and value.keys() == _MEMBERS.keys()
    return isinstance(value, dict if shape == "object" else str)
