"""Tells whether the options of a `oneOf` exclude each other: then it is an `anyOf`, which a grammar can follow."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import values
from .words import ANY, IN_PLACE, VALUES, UnusableSchema, types_of, words_of

LONGEST_WAY = 16
"""References from one to the next."""

Resolve = Callable[[Any], Any]
Values = frozenset[str]
"""Written as JSON."""


@dataclass(frozen=True)
class _Face:
    """What can be told of an option at once."""

    types: frozenset[str]
    values: Values | None
    """All that it allows; None where these are not written down."""
    tags: Mapping[str, Values]
    """The values of its properties that are constants."""


def distinguishing_property(options: Sequence[Any], types: frozenset[str], resolve: Resolve) -> str | None:
    """The property by which objects differ, which must then be required; None where none is needed.

    Args:
        options: schemas.
        types: of which the value is in any case.
        resolve: what a reference points to.

    Raises:
        UnusableSchema: two options may allow the same value.
    """
    faces = [_face(option, types, resolve) for option in options]
    needed = None
    for name in types | {"number"}:
        alike = [face for face in faces if name in face.types]
        if len(alike) < 2 or _are_apart(face.values for face in alike):
            continue
        names = alike[0].tags if name == "object" else ()
        told = next((tag for tag in names if _are_apart(face.tags.get(tag) for face in alike)), None)
        if told is None:
            raise UnusableSchema(
                "oneOf is followed only where its options exclude each other: by their types, their constants, or a"
                " property that is a different constant in each"
            )
        needed = told
    return needed


def _are_apart(sets: Iterable[Collection[str] | None]) -> bool:
    seen: set[str] = set()
    for one in sets:
        if one is None or seen & set(one):
            return False
        seen |= set(one)
    return True


def _face(option: Any, types: frozenset[str], resolve: Resolve) -> _Face:
    schema = resolved(option, resolve)
    if schema is False:
        return _Face(frozenset(), frozenset(), {})
    if schema is True or IN_PLACE & words_of(schema):
        return _Face(_general(types), None, {})
    own = _general(types_of(schema)) & _general(types)
    properties = schema.get("properties", {})
    tags = {
        name: constants
        for name, one in (properties.items() if isinstance(properties, dict) else ())
        if (constants := _constants(resolved(one, resolve))) is not None
    }
    constants = _constants(schema)
    if constants is not None:
        own = frozenset(name for name in own if _constants({**schema, "type": name}))
    return _Face(own, constants, tags)


def _general(types: frozenset[str]) -> frozenset[str]:
    return frozenset("number" if name == "integer" else name for name in types)


def _constants(schema: Any) -> Values | None:
    if not isinstance(schema, dict) or not VALUES & schema.keys() or IN_PLACE & words_of(schema):
        return None
    named = types_of({"type": schema["type"]}) if "type" in schema else ANY
    try:
        return frozenset(json.dumps(value, sort_keys=True) for value in values.constants(schema, named))
    except UnusableSchema:
        return frozenset()


def resolved(schema: Any, resolve: Resolve) -> Any:
    """The schema, or what it refers to where it does nothing else."""
    for _ in range(LONGEST_WAY):
        if not isinstance(schema, dict) or words_of(schema) != {"$ref"}:
            break
        schema = resolve(schema["$ref"])
    if not isinstance(schema, dict | bool):
        raise UnusableSchema("a schema must be an object, true or false")
    return schema
