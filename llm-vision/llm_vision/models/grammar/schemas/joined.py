"""Refuses schemas that join patterns which a text may fit in too many ways at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from ...base import JsonObject
from .limits import Definitions, parts_of, referred
from .words import UnusableSchema

MOST_STATES = 100_000
"""Of a text that must fit several patterns: at worst, the product of the places in each. 22 times `\\p{L}{100}`
would take minutes and gigabytes."""
MOST_LOOKS = 20_000
_PIECE = re.compile(
    r"(?P<atom>\\[pPx]\{[^}]*\}|\\.|\[(?:\\.|[^\]\\])*\])|(?P<open>\((?:\?(?::|P?<[^>]*>))?)|(?P<close>\))"
    r"|\{(?P<least>[0-9]+)(?P<varies>,(?P<most>[0-9]*))?\}|(?P<other>.)",
    re.DOTALL,
)
_VARY = frozenset("|*+?")
_NO_PLACE = _VARY | frozenset("^$")


def check_joined_patterns(answer: JsonObject, definitions: Definitions) -> None:
    """Look at schemas as they are written for the grammar.

    Args:
        answer: the schema of an answer.
        definitions: all those that schemas refer to.

    Raises:
        UnusableSchema: some values must fit too many patterns at once.
    """
    look = _Joined(definitions)
    for schema in (answer, *definitions.values()):
        look.everywhere(schema)


class _Joined:
    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._seen: set[frozenset[int]] = set()
        self._left = MOST_LOOKS

    def everywhere(self, schema: Any) -> None:
        self._spend()
        if isinstance(schema, dict):
            if "allOf" in schema or "patternProperties" in schema:
                self._together([schema])
            for part in parts_of(schema):
                self.everywhere(part)

    def _together(self, schemas: Sequence[Any]) -> None:
        """Schemas that hold for the same value."""
        key = frozenset(map(id, schemas))
        if key in self._seen:
            return
        self._seen.add(key)
        plain, unions = self._flat(schemas)
        _check_states(self._states(plain, unions))
        _check_states(prod(map(_ways, {name for part in plain for name in part.get("patternProperties", ())})))
        for parts in _same_places(plain):
            if len(parts) > 1:
                self._together(parts)

    def _states(self, plain: Sequence[JsonObject], unions: Iterable[Sequence[Any]]) -> int:
        patterns = {part["pattern"] for part in plain if "pattern" in part}
        return prod(map(_ways, patterns)) * prod(
            max((self._states(*self._flat([option])) for option in options), default=1) for options in unions
        )

    def _flat(self, schemas: Iterable[Any]) -> tuple[list[JsonObject], list[Sequence[Any]]]:
        """Everything that holds for a value: schemas of one type, and lists of options."""
        plain, unions = list[JsonObject](), list[Sequence[Any]]()
        waiting, followed = [*schemas], set[str]()
        while waiting:
            self._spend()
            schema = waiting.pop()
            if not isinstance(schema, dict):
                continue
            name = referred(schema)
            if name is not None:
                waiting += [] if name in followed else [self._definitions[name]]
                followed.add(name)
            elif "anyOf" in schema:
                unions.append(schema["anyOf"])
            elif "allOf" in schema:
                waiting += schema["allOf"]
            else:
                plain.append(schema)
        return plain, unions

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise UnusableSchema("the schema joins too many alternatives: write them out, or fewer")


def _same_places(plain: Sequence[JsonObject]) -> Iterable[list[Any]]:
    """For each part of a value the schemas that hold for it."""
    for name in {name for schema in plain for name in schema.get("properties", ())}:
        yield [schema["properties"][name] for schema in plain if name in schema.get("properties", ())]
    for word in ("items", "additionalProperties"):
        yield [schema[word] for schema in plain if word in schema]
    for place in range(max((len(schema.get("prefixItems", ())) for schema in plain), default=0)):
        yield [schema["prefixItems"][place] for schema in plain if place < len(schema.get("prefixItems", ()))]


def _check_states(count: int) -> None:
    if count > MOST_STATES:
        raise UnusableSchema("the schema joins too many patterns, or too long ones: write them as one, or fewer")


def _ways(pattern: str) -> int:
    """In how many places of a pattern a text may be at once, and whether it has left it."""
    places, behind = count_places(pattern)
    return 2 + behind if pattern.startswith("^") else 1 + places


def count_places(pattern: str) -> tuple[int, int]:
    """The characters that a pattern consists of, those of counted repetitions each time.

    Args:
        pattern: as the grammar has it.

    Returns:
        All, and those behind the first one that may be there or not, or more or less often: a text that fits a pattern
        from the beginning on can be in one place only until there.
    """
    groups, last, fixed = [0], 0, None
    for piece in _PIECE.finditer(pattern):
        if piece["open"]:
            groups.append(0)
        elif piece["close"]:
            last = groups.pop() if len(groups) > 1 else 0
            groups[-1] += last
        elif piece["least"]:
            groups[-1] += last * (max(int(piece["least"]), int(piece["most"] or 0), 1) - 1)
        elif piece["atom"] or piece["other"] not in _NO_PLACE:
            last = 1
            groups[-1] += 1
        if fixed is None and (piece["varies"] or piece["other"] in _VARY):
            fixed = sum(groups)
    return sum(groups), sum(groups) - (sum(groups) if fixed is None else fixed)
