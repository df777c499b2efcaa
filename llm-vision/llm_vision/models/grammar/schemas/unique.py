"""Lists without repetition (`uniqueItems`) as the grammar follows them: written out, since it remembers no items."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, permutations
from typing import Any

from ...base import JsonObject
from . import values
from .unions import Resolve, resolved
from .words import ANY, VALUES, UnusableSchema, is_of_types, types_of, words_of

MOST_WRITTEN = 512 * 1024
"""Characters of all lists of a request; those of one schema take a third of what is left."""
MOST_JOINED = 8000
"""Of one schema that is joined with others."""
_AROUND_VALUE, _AROUND_LIST = 12, 80
"""Characters of JSON, about."""

Count = Callable[[int], None]
_Row = Sequence[Sequence[int]]
"""A list: the numbers of the values that each of its places may have."""


def listed(schema: Any, resolve: Resolve, count: Count) -> list[Any] | None:
    """All values that a schema allows, each once; None where they are not told by constants and types alone.

    Args:
        schema: of an item.
        resolve: what a reference points to.
        count: refuses too many parts.

    Raises:
        UnusableSchema: it allows nothing, or cannot be followed.
    """
    target = resolved(schema, resolve)
    union = words_of(target) - {"type"} if isinstance(target, dict) else frozenset()
    if union not in ({"anyOf"}, {"oneOf"}):
        return _constants(target, count)
    options, types = target[next(iter(union))], types_of(target)
    known: dict[str, Any] = {}
    for option in options if isinstance(options, list) else [None]:
        allowed = _constants(resolved(option, resolve), count)
        texts = {json.dumps(value, sort_keys=True): value for value in allowed or ()}
        if allowed is None or ("oneOf" in union and known.keys() & texts.keys()):
            return None
        known |= texts
    return [value for value in known.values() if is_of_types(value, types)]


def _constants(schema: Any, count: Count) -> list[Any] | None:
    if not isinstance(schema, dict):
        return None
    words = words_of(schema)
    types = types_of(schema) if "type" in words else ANY
    count(values.weight(schema.get("enum")))
    if VALUES & words and words <= {*VALUES, "type"}:
        return list({json.dumps(value, sort_keys=True): value for value in values.constants(schema, types)}.values())
    if words == {"type"} and types <= {"boolean", "null"}:
        return [*([False, True] if "boolean" in types else []), *([None] if "null" in types else [])]
    return None


def lists(members: Sequence[Any], least: int, most: int, budget: int) -> tuple[JsonObject, int]:
    """A schema of the lists of some of these values, each at most once; and how many characters it has, about.

    Short lists have them in any order, longer ones in the given order, and the longest are left out, all as the budget
    allows. Where it allows none at all, the values are dealt to as many places as a list must have.

    Args:
        members: all different.
        least: items that a list must have.
        most: items that it may have.
        budget: characters.

    Raises:
        UnusableSchema: there are not as many different values as items.
    """
    sizes = [len(json.dumps(value)) + _AROUND_VALUE for value in members]
    most = min(most, len(members))
    if least > most:
        raise UnusableSchema("minItems asks for more items than uniqueItems and maxItems allow")
    lengths = list(range(max(least, 1), most + 1))
    rows = _affordable(lengths, sizes, budget // 4, in_order=False)
    rows += _affordable(lengths, sizes, budget // 4 * 3, in_order=True)
    if lengths and not rows:
        rows = [_dealt(len(members), lengths[0])]
    options: list[JsonObject] = [{"type": "array", "maxItems": 0}] if least == 0 else []
    options += [_written([[members[number] for number in place] for place in row]) for row in rows]
    return {"anyOf": options}, sum(_cost(row, sizes) for row in rows)


def _affordable(lengths: list[int], sizes: Sequence[int], budget: int, *, in_order: bool) -> list[_Row]:
    """All lists of the first lengths, which are taken away."""
    rows: list[_Row] = []
    while lengths:
        taken: list[_Row] = []
        for row in _rows(len(sizes), lengths[0], in_order=in_order):
            budget -= _cost(row, sizes)
            if budget < 0:
                return rows
            taken.append(row)
        rows += taken
        del lengths[0]
    return rows


def _rows(count: int, length: int, *, in_order: bool) -> Iterator[_Row]:
    """All lists of a length: its beginnings, each with everything that may come last."""
    if in_order:
        for begin in combinations(range(count - 1), length - 1):
            yield [*([number] for number in begin), range(begin[-1] + 1 if begin else 0, count)]
    else:
        for begin in permutations(range(count), length - 1):
            yield [*([number] for number in begin), sorted({*range(count)} - {*begin})]


def _dealt(count: int, length: int) -> _Row:
    return [range(place * count // length, (place + 1) * count // length) for place in range(length)]


def _cost(row: _Row, sizes: Sequence[int]) -> int:
    return _AROUND_LIST + sum(sizes[number] for place in row for number in place)


def _written(places: Iterable[list[Any]]) -> JsonObject:
    items = [{"enum": allowed} for allowed in places]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
