"""What is wrong with a setting, in words: the variable, what it was given, and what is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from . import Settings

_PREFIXES = ("VISION_", "LLAVA_", "MANGAOCR_")
_OF_COMPOSE = frozenset({
    "VISION_CONTAINER_CPUS", "VISION_CONTAINER_MEMORY", "VISION_CONTAINER_TMP", "VISION_DATA", "VISION_GID",
    "VISION_STOP_GRACE", "VISION_UID",
})  # fmt: skip
"""Read by docker-compose.yml, not by the service."""
_MAY_HOLD_SECRETS = frozenset({"api_keys", "admin_keys", "upstreams", "upstream_keys"})
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
_LIMITS = {Ge: ("ge", "from {}"), Gt: ("gt", "above {}"), Le: ("le", "up to {}"), Lt: ("lt", "below {}")}
_LONGEST_VALUE = 60  # characters that are repeated


def name_variable(field: str) -> str:
    """The environment variable of a field, or of an error's place."""
    info = Settings.model_fields.get(field)
    alias = info.validation_alias if info else None
    return str(
        getattr(alias, "choices", [field])[0] if alias else field if field.isupper() else f"VISION_{field.upper()}"
    )


def explain(problem: ErrorDetails) -> str:
    """One line for a value that was refused."""
    if not problem["loc"]:  # several settings that do not go together
        return problem["msg"].removeprefix("Value error, ")
    variable = str(problem["loc"][0])
    field = next((name for name in Settings.model_fields if name_variable(name) == name_variable(variable)), variable)
    given = "" if field in _MAY_HOLD_SECRETS else f" is {str(problem['input'])[:_LONGEST_VALUE]!r}"
    return f"{name_variable(field)}{given}: {_say_allowed(Settings.model_fields.get(field), problem)}"


def _say_allowed(info: FieldInfo | None, problem: ErrorDetails) -> str:
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "literal_error":
        return f"it must be {problem['ctx']['expected']}"
    kinds = [_KINDS[kind.__name__] for kind in _types(info) if getattr(kind, "__name__", "") in _KINDS]
    if not kinds:
        return problem["msg"]
    return " ".join([f"it must be {kinds[0]}", *_list_limits(info)])


def _types(info: FieldInfo | None) -> list[Any]:
    kind = info.annotation if info else None
    return [kind, *get_args(kind)]


def _list_limits(info: FieldInfo | None) -> Iterator[str]:
    metadata = [
        *(info.metadata if info else ()),
        *(part for kind in _types(info) for part in getattr(kind, "__metadata__", ())),
    ]
    constraints = [inner for part in metadata for inner in (*getattr(part, "metadata", ()), part)]
    for kind, (attribute, words) in _LIMITS.items():
        for constraint in constraints:
            if isinstance(constraint, kind):
                yield words.format(getattr(constraint, attribute))


def find_misspelt(environment: Mapping[str, str] = os.environ, env_file: str = ".env") -> list[str]:
    """Variables that look like ours and are none, each as a warning with the nearest name."""
    known = {name_variable(field) for field in Settings.model_fields} | _OF_COMPOSE
    given = {*environment, *(dotenv_values(env_file) if os.path.isfile(env_file) else ())}
    return [_warn(name, known) for name in sorted(given - known) if name.startswith(_PREFIXES)]


def _warn(name: str, known: set[str]) -> str:
    nearest = get_close_matches(name, sorted(known), n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "docs/configuration.md lists those there are"
    return f"{name} is no setting and is ignored; {hint}"
