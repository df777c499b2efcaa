"""Limits of numbers in a JSON schema, as the grammar follows them exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ...base import JsonObject
from .words import UnusableSchema

LARGEST_INTEGER = 10**18
"""Integers without limits end here: a model cannot write digits without end."""
EXACT = 2**53
"""Up to here the grammar knows every integer."""
LARGEST_NUMBER = 1e15
LARGEST_STEP = 10_000
"""The digits of multipleOf without its point: for each, the library needs some microseconds."""
_MOST_DECIMALS = 10
_MOST_DECIMALS_OF_STEP = 6


def integer(schema: Mapping[str, Any]) -> JsonObject:
    """A schema of type integer.

    Raises:
        UnusableSchema: it cannot be followed.
    """
    lows, highs = _bounds(schema)
    low = max((math.ceil(bound) + (is_open and bound == math.ceil(bound)) for bound, is_open in lows), default=None)
    high = min((math.floor(bound) - (is_open and bound == math.floor(bound)) for bound, is_open in highs), default=None)
    low = -LARGEST_INTEGER if low is None else max(low, -LARGEST_INTEGER)
    high = LARGEST_INTEGER if high is None else min(high, LARGEST_INTEGER)
    _, step = _step(schema)
    if low <= high:
        low, high = _exact(low, upwards=True), _exact(high, upwards=False)
    if low > high or (step and math.ceil(low / step) * step > high):
        raise UnusableSchema("no integer is within the limits")
    return {"type": "integer", "minimum": low, "maximum": high, **_multiple(schema)}


def _exact(bound: int, upwards: bool) -> int:
    """The nearest integer inside that a double holds exactly."""
    if abs(bound) <= EXACT:
        return bound
    near = float(bound)
    if int(near) != bound and (int(near) < bound) == upwards:
        near = math.nextafter(near, math.inf if upwards else -math.inf)
    return int(near)


def number(schema: Mapping[str, Any]) -> JsonObject:
    """A schema of type number.

    Raises:
        UnusableSchema: it cannot be followed.
    """
    written: JsonObject = {"type": "number", **_multiple(schema)}
    lows, highs = _bounds(schema)
    if not lows and not highs:
        return written
    low, is_above = max(lows, default=(-LARGEST_NUMBER, False))
    high, is_below = min(highs, key=lambda bound: (bound[0], not bound[1]), default=(LARGEST_NUMBER, False))
    low, high = max(low, -LARGEST_NUMBER), min(high, LARGEST_NUMBER)
    if low > high or (low == high and (is_above or is_below)):
        raise UnusableSchema("no number is within the limits")
    if is_above or is_below:
        written.setdefault("multipleOf", _finest(low, high))
    step = (high - low) / 4
    if is_above and low >= 0:  # the library would allow the excluded bound itself, if it is the one nearer to 0
        low, is_above = low + min(step, _finest(low)), False
    if is_below and high <= 0:
        high, is_below = high - min(step, _finest(high)), False
    written["exclusiveMinimum" if is_above else "minimum"] = low + 0.0  # 0.0 makes -0.0 positive
    written["exclusiveMaximum" if is_below else "maximum"] = high + 0.0
    return written


def _finest(*bounds: float) -> float:
    """The distance of numbers beside excluded bounds: those with more digits would be rounded to the bound."""
    largest = max((abs(bound) for bound in bounds if abs(bound) < LARGEST_NUMBER), default=LARGEST_NUMBER)
    digits = len(str(int(largest)))
    return float(f"1e-{min(max(14 - digits, 0), _MOST_DECIMALS)}")


def _bounds(schema: Mapping[str, Any]) -> tuple[list[tuple[float, bool]], list[tuple[float, bool]]]:
    """Lower and upper bounds; whether each is itself excluded."""
    bounds: list[list[tuple[float, bool]]] = []
    for inclusive, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        included, excluded = schema.get(inclusive), schema.get(exclusive)
        if isinstance(excluded, bool):  # as in draft 4, where it tells of the other word
            bounds.append([] if included is None else [(_number(included), excluded)])
        else:
            pairs = ((included, False), (excluded, True))
            bounds.append([(_number(bound), is_open) for bound, is_open in pairs if bound is not None])
    return bounds[0], bounds[1]


def step_digits(schema: Mapping[str, Any]) -> int:
    """The digits of `multipleOf` without its point; 0 where it is not said.

    Raises:
        UnusableSchema: it is not positive, or has too many digits.
    """
    return _step(schema)[0]


def _step(schema: Mapping[str, Any]) -> tuple[int, Fraction]:
    """Those digits, and the number."""
    value = schema.get("multipleOf")
    if value is None:
        return 0, Fraction()
    step = Decimal(str(_number(value))).normalize()
    decimals = max(0, -int(step.as_tuple().exponent))
    digits = int(step.scaleb(decimals))
    if not 0 < digits <= LARGEST_STEP or decimals > _MOST_DECIMALS_OF_STEP:
        raise UnusableSchema(
            f"multipleOf may have {_MOST_DECIMALS_OF_STEP} decimals, and be {LARGEST_STEP} without its point, at most"
        )
    return digits, Fraction(step)


def _multiple(schema: Mapping[str, Any]) -> JsonObject:
    return {"multipleOf": schema["multipleOf"]} if _step(schema)[0] else {}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableSchema("the limits of a number must be numbers")
    return value
