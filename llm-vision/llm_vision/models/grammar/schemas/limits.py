"""Refuses written schemas that would take a grammar's library too much stack, memory or time, or that never end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...base import JsonObject
from .words import UnusableSchema

MOST_LEVELS = 200
"""Through references: the library goes down by 6 kB of stack for each; a stack may have only 2 MB."""
MOST_JOINED = 5000
"""Pairs of parts that are compared to join schemas, estimated from above."""

Definitions = Mapping[str, JsonObject | bool]


def check(answer: JsonObject, definitions: Definitions) -> None:
    """Look at schemas as they are written for the grammar.

    Args:
        answer: the schema of an answer.
        definitions: all those that schemas refer to.

    Raises:
        UnusableSchema: they are too complicated, or cannot be fulfilled.
    """
    _Levels(definitions).go(answer, 0)
    joins = _Joins(definitions)
    for schema in (answer, *definitions.values()):
        joins.look(schema)
    _check_ends(answer, definitions)


class _Levels:
    """Goes the library's way: down into each definition where it is first referred to."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._seen: set[str] = set()

    def go(self, schema: Any, level: int) -> None:
        if level > MOST_LEVELS:
            raise UnusableSchema(f"the schemas lead more than {MOST_LEVELS} levels deep")
        name = referred(schema)
        if name is not None and name not in self._seen:
            self._seen.add(name)
            self.go(self._definitions[name], level + 1)
        for part in parts_of(schema):
            self.go(part, level + 1)


class _Joins:
    """Counts what `allOf` makes of its parts: each may have to be compared with each, all references followed."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._left = MOST_JOINED

    def look(self, schema: Any) -> None:
        if isinstance(schema, dict) and "allOf" in schema:
            self._size(schema, ())
        else:
            for part in parts_of(schema):
                self.look(part)

    def _size(self, schema: Any, inside: tuple[str | None, ...]) -> int:
        """Parts of a schema that may be compared, where it stands inside of these definitions and (None) parts."""
        self._spend(1 if len(inside) < MOST_LEVELS else MOST_JOINED)
        name = referred(schema)
        if name is not None:
            return 1 if name in inside else self._size(self._definitions[name], (*inside, name))
        sizes = [self._size(part, (*inside, None)) for part in parts_of(schema)]
        if not isinstance(schema, dict) or "allOf" not in schema:
            return 1 + sum(sizes) + (len(schema.get("enum", ())) if isinstance(schema, dict) else 0)
        product = 1
        for size in sizes:
            product *= size
        self._spend(product)
        return product

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise UnusableSchema("the schema joins too many alternatives: write them out, or fewer")


def _check_ends(answer: JsonObject, definitions: Definitions) -> None:
    ending: set[str] = set()
    waiting = list(definitions)[::-1]
    while ended := {name for name in waiting if _ends(definitions[name], ending)}:
        ending |= ended
        waiting = [name for name in waiting if name not in ended]
    if waiting or not _ends(answer, ending):
        raise UnusableSchema("no answer can fulfil the schema, as where a definition requires itself")


def _ends(schema: Any, ending: set[str]) -> bool:
    """Whether something finite fits, where only the definitions `ending` are known to be finite."""
    if isinstance(schema, bool):
        return schema
    name = referred(schema)
    if name is not None:
        return name in ending
    if "anyOf" in schema:
        return any(_ends(part, ending) for part in schema["anyOf"])
    if "allOf" in schema:
        return all(_ends(part, ending) for part in schema["allOf"])
    properties, least = schema.get("properties", {}), schema.get("minItems", 0)
    if not all(_ends(properties[name], ending) for name in schema.get("required", ()) if name in properties):
        return False
    prefix = schema.get("prefixItems", [])
    needed = [*prefix[:least], *([schema.get("items", True)] if least > len(prefix) else [])]
    return all(_ends(item, ending) for item in needed)


def is_object(schema: Any, definitions: Definitions, known: dict[str, bool], level: int = 0) -> bool:
    """Whether a schema allows objects only.

    Args:
        schema: as it is written.
        definitions: all those that schemas refer to.
        known: the answer for definitions; filled.
        level: how deep it stands.

    Raises:
        UnusableSchema: it goes through too many references.
    """
    if level > MOST_LEVELS:
        raise UnusableSchema(f"the schemas lead more than {MOST_LEVELS} levels deep")
    if not isinstance(schema, dict):
        return False
    name = referred(schema)
    if name is not None:
        if name not in known:
            known[name] = True  # for those inside of it that refer to it again
            known[name] = is_object(definitions[name], definitions, known, level + 1)
        return known[name]
    if "anyOf" in schema:
        return all(is_object(part, definitions, known, level + 1) for part in schema["anyOf"])
    parts = (is_object(part, definitions, known, level + 1) for part in schema.get("allOf", ()))
    return schema.get("type") == "object" or any(parts)


def referred(schema: Any) -> str | None:
    """The name of the definition that a schema refers to."""
    return schema["$ref"].rpartition("/")[2] if isinstance(schema, dict) and "$ref" in schema else None


def parts_of(schema: Any) -> Iterable[Any]:
    """The schemas in a schema, in the library's order."""
    if not isinstance(schema, dict):
        return
    for word in ("properties", "patternProperties"):
        yield from schema.get(word, {}).values()
    if "additionalProperties" in schema:
        yield schema["additionalProperties"]
    yield from schema.get("prefixItems", ())
    if "items" in schema:
        yield schema["items"]
    for word in ("anyOf", "allOf"):
        yield from schema.get(word, ())
