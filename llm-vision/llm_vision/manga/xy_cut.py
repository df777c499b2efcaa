"""Things on a page that free strips divide: one step of the recursive XY-cut (Nagy and Seth, 1984)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


def cut_groups(
    things: Sequence[Thing],
    low: Callable[[Thing], float],
    high: Callable[[Thing], float],
    is_apart: Callable[[Thing, Sequence[Thing], float], bool],
) -> list[list[Thing]]:
    """Things in groups along one axis, in ascending order.

    Args:
        things: in any order.
        low: where a thing begins.
        high: where it ends.
        is_apart: whether a thing begins another group; given it, the group before it and the free length between
            the two, which is negative where they overlap.
    """
    groups: list[list[Thing]] = []
    end = float("-inf")
    for thing in sorted(things, key=low):
        if not groups or is_apart(thing, groups[-1], low(thing) - end):
            groups.append([])
        groups[-1].append(thing)
        end = max(end, high(thing))
    return groups
