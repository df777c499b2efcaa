"""Good and bad bodies with a few changes: of their bytes, or of the values that their JSON holds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

INTERESTING = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x5B, 0x7B)
HOSTILE = (
    None, True, False, 0, -1, 1, 0.5, 1e308, float("nan"), 2**31, 2**63, 10**400, "", " ", "0", "-1", "5m", "auto",
    "x" * 20_000, "a\0b", "\ud800", "\U0001f600", "../../etc/passwd", "https://10.0.0.1/a.png",
    "data:image/png;base64,", "(a+)+$", "[", {}, [], [[]],
    [None] * 300, {"$ref": "#"}, {"type": "object"}, {"x" * 300: 1},
)  # fmt: skip
"""Values in whose place something else was meant."""


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """A few changes of the kinds that find most: bits, bytes, spans, cuts and pieces of another body."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        if not found:
            break
        at = chance.randrange(len(found))
        span = chance.randrange(1, 33)
        match chance.randrange(7):
            case 0:
                found[at] ^= 1 << chance.randrange(8)
            case 1:
                found[at] = chance.choice(INTERESTING)
            case 2:
                found[at : at + 4] = chance.randbytes(4)
            case 3:
                del found[at : at + span]
            case 4:
                found[at:at] = found[at : at + span] * chance.randrange(1, 5)
            case 5:
                start = chance.randrange(max(1, len(other)))
                found[at : at + span] = other[start : start + span]
            case 6 if chance.random() < 0.2:
                del found[at:]
    return bytes(found)


def mutated_json(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """JSON with other values, keys and shapes; sometimes with other bytes, too."""
    try:
        tree, donor = json.loads(data), json.loads(other)
    except (ValueError, RecursionError):
        return mutated(data, other, chance)
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change(tree, donor, chance)
    text = json.dumps(tree).encode()
    return mutated(text, other, chance) if chance.random() < 0.15 else text


def _change(tree: Any, donor: Any, chance: random.Random) -> None:
    """Change one value somewhere in a tree."""
    places = list(_places(tree))
    if not places:
        return
    container, key = chance.choice(places)
    value = container[key]
    match chance.randrange(6):
        case 0 | 1:
            container[key] = chance.choice(HOSTILE)
        case 2:
            del container[key]
        case 3:
            container[key] = _borrowed(donor, chance)
        case 4:
            container[key] = chance.choice(([value], {"a": value}, [value] * chance.choice((2, 9, 70))))
        case 5 if isinstance(container, dict):
            del container[key]
            container[str(chance.choice(places)[1])] = value


def _borrowed(donor: Any, chance: random.Random) -> Any:
    """Some value of another tree."""
    container, key = chance.choice([*_places(donor), ([donor], 0)])
    return json.loads(json.dumps(container[key]))


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of every value."""
    waiting = [tree]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict | list):
            for key in container if isinstance(container, dict) else range(len(container)):
                yield container, key
                waiting.append(container[key])
