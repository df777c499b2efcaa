"""Writes JSON schemas anew: only words that the grammar follows exactly, references by name, sizes bounded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from ...base import JsonObject
from . import numbers, unique, values
from .joined import check_joined_patterns
from .limits import check, is_object
from .properties import MOST_PROPERTIES, counted_properties, members, name_pattern, required_names
from .unions import distinguishing_property
from .words import ANY, IN_PLACE, OF_TYPE, VALUES, UnusableSchema, types_of, words_of

LARGEST_SCHEMA = 64 * 1024
"""Bytes of JSON, of all schemas of a request together."""
MOST_NODES = 5000
"""Schemas and constants in them that are written at most."""
DEEPEST = 40
MOST_DEFINITIONS = 300

Schema = JsonObject | bool


@dataclass(frozen=True)
class _Place:
    """Where a schema stands."""

    document: Any
    """What its references point into."""
    depth: int = 0
    is_open: bool = False
    """Whether it is joined with others, which may have more properties."""
    required: tuple[str, ...] = ()
    """Properties that it must have, beside those that it says."""

    def below(self) -> _Place:
        return replace(self, depth=self.depth + 1, required=())


class SchemaWriter:
    """Writes schemas that share their definitions.

    A schema may become stricter (its objects have no other properties than it names, unless it says so), never looser.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[tuple[int, str, bool, tuple[str, ...]], str] = {}
        self._documents: list[Any] = []
        self._waiting: list[tuple[str, Any, _Place]] = []
        self._nodes = 0
        self._lists = unique.MOST_WRITTEN
        self._bytes = 0

    def add(self, schema: Any) -> JsonObject:
        """A reference to the schema among the definitions.

        Raises:
            UnusableSchema: it cannot be followed, or is too large.
        """
        self._bytes += _size(schema)
        if self._bytes > LARGEST_SCHEMA:
            raise UnusableSchema(f"the schemas have more than {LARGEST_SCHEMA} bytes")
        self._documents.append(schema)  # kept alive, so that its id stays its own
        reference = self._reference("#", _Place(schema))
        try:
            while self._waiting:
                name, target, place = self._waiting.pop()
                self.definitions[name] = self._written(target, place)
        except RecursionError as error:
            raise UnusableSchema("a constant is nested too deep") from error
        return reference

    def document(self, answer: JsonObject) -> JsonObject:
        """A schema with all definitions.

        Raises:
            UnusableSchema: together they are too complicated, or cannot be fulfilled.
        """
        check(answer, self.definitions)
        check_joined_patterns(answer, self.definitions)
        return {**answer, "$defs": self.definitions}

    def is_object(self, written: JsonObject) -> bool:
        """Whether a schema that was written allows objects only.

        Raises:
            UnusableSchema: it goes through too many references.
        """
        return is_object(written, self.definitions, {})

    def _reference(self, pointer: Any, place: _Place) -> JsonObject:
        target = _target(pointer, place.document)
        key = (id(place.document), pointer, place.is_open, place.required)
        if key not in self._names:
            if len(self._names) >= MOST_DEFINITIONS:
                raise UnusableSchema(f"the schemas refer to more than {MOST_DEFINITIONS} definitions")
            self._names[key] = f"d{len(self._names)}"
            self._waiting.append((self._names[key], target, replace(place, depth=0)))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _written(self, schema: Any, place: _Place) -> Schema:
        self._count(1)
        if isinstance(schema, bool):
            return {} if schema else False
        if not isinstance(schema, dict):
            raise UnusableSchema("a schema must be an object, true or false")
        if place.depth > DEEPEST:
            raise UnusableSchema(f"the schema is nested more than {DEEPEST} levels")
        if "$id" in schema and schema is not place.document:
            raise UnusableSchema("only the outermost schema may have an $id")
        words = words_of(schema)
        alternatives = _list(schema, "allOf") if "allOf" in words else []
        plain = words - IN_PLACE - VALUES - ({"type"} if VALUES & words else frozenset())
        joined = len(words & IN_PLACE - {"allOf"}) + len(alternatives) + bool(VALUES & words) + bool(plain)
        inner = replace(place, is_open=place.is_open or joined > 1)
        parts: list[Schema] = [*self._typed(schema, inner)] if plain else []
        if VALUES & words:
            constants = values.constants(schema, types_of(schema) if "type" in schema else ANY)
            self._count(values.weight(constants))
            parts.append({"enum": constants})
        parts += self._in_place(schema, words, inner, alternatives)
        return {"allOf": parts} if len(parts) > 1 else (parts or [{}])[0]

    def _in_place(
        self, schema: Mapping[str, Any], words: frozenset[str], place: _Place, alternatives: Sequence[Any]
    ) -> Iterable[Schema]:
        below = replace(place, depth=place.depth + 1)
        if "$ref" in words:
            yield self._reference(schema["$ref"], place)
        if "anyOf" in words:
            yield {"anyOf": [self._written(option, below) for option in _list(schema, "anyOf")]}
        if "oneOf" in words:
            options = _list(schema, "oneOf")
            told = distinguishing_property(options, types_of(schema), lambda ref: _target(ref, place.document))
            below = replace(below, required=(*below.required, told) if told else below.required)
            yield {"anyOf": [self._written(option, below) for option in options]}
        for part in alternatives:
            yield self._written(part, below)

    def _typed(self, schema: Mapping[str, Any], place: _Place) -> Iterable[Schema]:
        options = [self._of_type(name, schema, place) for name in sorted(types_of(schema))]
        return options if len(options) == 1 else [{"anyOf": options}]

    def _of_type(self, name: str, schema: Mapping[str, Any], place: _Place) -> JsonObject:
        if "multipleOf" in schema:
            if place.is_open:  # the library counts the least common multiple in 32 bits
                raise UnusableSchema("multipleOf cannot be joined with other schemas")
            self._count(numbers.step_digits(schema) // 10)
        if name == "object":
            return self._object(schema, place)
        if name == "array":
            return self._unique(schema, place.below()) if _is_unique(schema) else self._array(schema, place.below())
        if name == "integer" and not OF_TYPE["number"] & schema.keys():  # takes the library long to read, so only once
            self.definitions.setdefault(name, numbers.integer({}))
            return {"$ref": f"#/$defs/{name}"}
        simple = {"string": values.text, "integer": numbers.integer, "number": numbers.number}
        return simple[name](schema) if name in simple else {"type": name}

    def _array(self, schema: Mapping[str, Any], place: _Place) -> JsonObject:
        items, prefix = schema.get("items"), schema.get("prefixItems")
        if isinstance(items, list):  # as in older drafts
            items, prefix = schema.get("additionalItems"), items
        written: JsonObject = {"type": "array", **values.least(schema, "minItems")}
        most = values.counted(schema, "maxItems")
        if most is not None:
            written["maxItems"] = min(most, values.MOST_COUNTED)
        if prefix is not None:
            if not isinstance(prefix, list) or len(prefix) > MOST_PROPERTIES:
                raise UnusableSchema(f"prefixItems must be a list of at most {MOST_PROPERTIES} schemas")
            written["prefixItems"] = [self._written(item, place) for item in prefix]
        if items is not None:
            written["items"] = self._written(items, place)
        return written

    def _unique(self, schema: Mapping[str, Any], place: _Place) -> JsonObject:
        """An array whose items are all different; of one item at most where not all items are known."""
        least = values.least(schema, "minItems").get("minItems", 0)
        most = values.counted(schema, "maxItems")
        items = schema.get("items", True)
        is_tuple = "prefixItems" in schema or isinstance(items, list)
        allowed = None if is_tuple else unique.listed(items, lambda ref: _target(ref, place.document), self._count)
        if allowed is not None:
            budget = min(self._lists // 3, unique.MOST_JOINED if place.is_open else self._lists)
            written, cost = unique.lists(allowed, least, len(allowed) if most is None else most, budget)
            self._lists -= cost
            return written
        if least > 1:
            raise UnusableSchema("of several items, uniqueItems is followed only where items is an enum, or constants")
        return self._array({**schema, "maxItems": 1 if most is None else min(1, most)}, place)

    def _object(self, schema: Mapping[str, Any], place: _Place) -> JsonObject:
        properties, patterns, rest = members(schema)
        required = list(dict.fromkeys([*required_names(schema), *place.required]))
        is_closed = "properties" in schema and rest is None and not patterns and not place.is_open
        if is_closed and set(required) <= properties.keys():
            rest = False
        below = place.below()
        written: JsonObject = {"type": "object"}
        if properties:
            written["properties"] = {name: self._written(one, below) for name, one in properties.items()}
        if patterns:
            written["patternProperties"] = {
                name_pattern(pattern): self._written(one, below) for pattern, one in patterns.items()
            }
        if rest is not None:
            written["additionalProperties"] = self._written(rest, below)
        if required:
            written["required"] = required
        return written | counted_properties(schema, len(properties), len(required), rest is False and not patterns)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise UnusableSchema(f"the schemas have more than {MOST_NODES} parts")


def _is_unique(schema: Mapping[str, Any]) -> bool:
    told = schema.get("uniqueItems", False)
    if not isinstance(told, bool):
        raise UnusableSchema("uniqueItems must be true or false")
    return told


def _list(schema: Mapping[str, Any], word: str) -> list[Any]:
    options = schema[word]
    if not isinstance(options, list) or not 0 < len(options) <= MOST_PROPERTIES:
        raise UnusableSchema(f"{word} must be a list of 1 to {MOST_PROPERTIES} schemas")
    return options


def _target(pointer: Any, document: Any) -> Any:
    """What a reference inside of a document points to."""
    if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
        raise UnusableSchema("a $ref must point into the same schema, as `#/$defs/name` does")
    target = document
    for part in unquote(pointer[2:]).split("/") if len(pointer) > 1 else []:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isdigit() and int(name) < len(target):
            target = target[int(name)]
        elif isinstance(target, dict) and name in target:
            target = target[name]
        else:
            raise UnusableSchema("a $ref points to nothing")
    return target


def _size(schema: Any) -> int:
    try:
        return len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise UnusableSchema("a schema must be JSON, without NaN and lone surrogates") from error
