"""Values that a client sent as a checked model, whatever body they came in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ...errors import InvalidParameter, InvalidText, UnknownParameter, VisionError

_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

_LONGEST_NAME, _NEARLY = 40, 0.75
LONGEST_DETAIL = 500  # characters
_OWN_WORDS = {"union_tag_invalid": "unknown `type`"}
"""For errors whose text pydantic writes with the value that was sent."""

Fields = TypeVar("Fields", bound=BaseModel)


def has_forbidden_characters(text: str) -> bool:
    """Whether it holds control characters other than tab and line ends, or lone surrogates."""
    return not text.isprintable() and _FORBIDDEN_CHARACTERS.search(text) is not None


def check_fields(fields: type[Fields], values: Mapping[str, Any]) -> Fields:
    """The fields of a form; blank ones take their defaults, unknown ones are ignored.

    Raises:
        InvalidText: a text holds control characters.
        InvalidParameter: a field is not what it must be.
    """
    given = {name: value for name, value in values.items() if not _is_blank(value)}
    for name in fields.model_fields:
        value = given.get(name)
        if isinstance(value, str) and has_forbidden_characters(value):
            raise InvalidText("control characters are not accepted", param=name)
    return validate(fields, given)


def validate(fields: type[Fields], values: Mapping[str, Any]) -> Fields:
    """The values as their model.

    Raises:
        InvalidParameter, UnknownParameter: the first thing that is wrong with them.
    """
    try:
        return fields.model_validate(values)
    except ValidationError as error:
        raise invalid_parameter(error.errors(include_url=False, include_input=False, include_context=False)) from None


def explain_misspelt(fields: type[BaseModel], names: Iterable[str]) -> str | None:
    """A notice for fields that nobody knows, where a known one is spelt nearly so; None where there are none."""
    meant = [
        close[0]
        for name in names
        if name not in fields.model_fields
        and (close := get_close_matches(name[:_LONGEST_NAME], fields.model_fields, n=1, cutoff=_NEARLY))
    ]
    return f"A field is not known here and was ignored; did you mean `{meant[0]}`?" if meant else None


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def invalid_parameter(errors: Sequence[Mapping[str, Any]]) -> VisionError:
    """One error for pydantic's list: names and rules only, never the values that were sent."""
    first = errors[0]
    names = [part for part in first["loc"] if isinstance(part, str) and part not in ("body", "query", "path")]
    name = ".".join(names)[:100] or "body"
    if first["type"] == "extra_forbidden":
        return UnknownParameter("unknown field; GET /docs lists the fields of this route")
    return InvalidParameter(f"{name}: {_OWN_WORDS.get(first['type'], first['msg'])}"[:LONGEST_DETAIL], param=name)
