"""A JSON body as checked values: encoding, syntax, depth, keys and texts, before any schema sees it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from ...errors import (
    DuplicateKey,
    InvalidEncoding,
    InvalidRequest,
    InvalidText,
    JsonTooDeep,
    MalformedJson,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from .body import parse_body
from .fields import has_forbidden_characters, validate

MAX_DEPTH = 64
MAX_TOKENS = 200_000
"""Strings, brackets and commas: a few bytes each in a body become a hundred in memory."""
_PIECE_CHARS = 1024 * 1024  # of a long string are looked at in one go, so that other threads get their turn
_BYTE_ORDER_MARK = "\ufeff"
_OUTSIDE_STRINGS = re.compile(r'["\[\]{},]|[^"\[\]{},]{1,65536}+')
_INSIDE_STRING = re.compile(r'"|(?:[^"\\]{1,16384}+|\\.){1,64}+|\\', re.DOTALL)

Schema = TypeVar("Schema", bound=BaseModel)


def json_body(schema: type[Schema], *, any_type: bool = False) -> Any:
    """A route's dependency: the body as `schema`; with `any_type`, whatever Content-Type says."""

    async def read(request: Request) -> Schema:
        if not any_type:
            check_is_json(request.headers.get("content-type", ""))
        return await parse_body(request, lambda body: validate(schema, parse_object(body)))

    return Depends(read)


def check_is_json(content_type: str) -> None:
    """Accept `application/json`, as UTF-8.

    Raises:
        UnsupportedMediaType: the body is of another kind or encoding.
    """
    kind, _, parameters = content_type.partition(";")
    charset = re.search(r"charset=\"?([^\s\";]+)", parameters, re.IGNORECASE)
    if kind.strip().lower() != "application/json" or (charset and charset[1].lower() not in ("utf-8", "utf8")):
        raise UnsupportedMediaType("send the body as application/json in UTF-8")


def parse_object(body: bytes | bytearray) -> dict[str, Any]:
    """A JSON object without surprises: no key twice, no NaN, no text that cannot be stored or shown.

    Raises:
        MalformedJson, InvalidEncoding, JsonTooDeep, DuplicateKey, PayloadTooLarge: the body is no good JSON.
        InvalidRequest: it is not an object.
        InvalidText: a text holds control characters or half a surrogate pair.
    """
    text = _decode(body)
    _check_structure(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_require_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite_float,
        )
    except ValueError:
        raise MalformedJson("the body is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object")
    if "\\" in text or "\x7f" in text:  # JSON has no other way to write what is forbidden
        _check_strings(value)
    return value


def _decode(body: bytes | bytearray) -> str:
    if not body or body.isspace():
        raise MalformedJson("the body is empty")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidEncoding("the body is not UTF-8") from None
    if text.startswith(_BYTE_ORDER_MARK) or "\0" in text[:2]:  # NUL beside ASCII: UTF-16 or UTF-32
        raise InvalidEncoding("send UTF-8 without a byte order mark")
    return text


def _check_structure(text: str) -> None:
    """Measure depth and size without recursion, before anything is built."""
    depth = 0
    for count, sign in enumerate(_scan_signs(text), start=1):
        if sign in "[{":
            depth += 1
        elif sign in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise JsonTooDeep(f"at most {MAX_DEPTH} levels")
        if count > MAX_TOKENS:
            raise PayloadTooLarge(f"more than {MAX_TOKENS} strings, brackets and commas")


def _scan_signs(text: str) -> Iterator[str]:
    """Brackets and commas outside of strings, and a quotation mark for each string."""
    position, in_string = 0, False
    while match := (_INSIDE_STRING if in_string else _OUTSIDE_STRINGS).match(text, position):
        sign, position = text[position], match.end()
        if in_string:
            in_string = sign != '"'
            continue
        in_string = sign == '"'
        if sign in '"[]{},':
            yield sign


def _require_unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DuplicateKey("an object has the same key twice")
    return members


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _parse_finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _walk_strings(root: Any) -> Iterator[str]:
    """Every string in the value, keys too."""
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_strings(value: Any) -> None:
    for string in _walk_strings(value):
        for start in range(0, len(string), _PIECE_CHARS):
            if has_forbidden_characters(string[start : start + _PIECE_CHARS]):
                raise InvalidText("control characters and lone surrogates are not accepted")
