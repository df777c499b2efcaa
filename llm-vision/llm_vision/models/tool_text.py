"""Tools as text: how a model without words of its own for them is told of tools, and calls them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .base import JsonObject
from .tasks.chat import ResponseFormat, ToolsFormat

AUTO = "auto"
"""The choice with which a model may also answer in words."""
REQUIRED = "required"
"""The choice with which it must call something; any other choice is the name of the tool that it must call."""
_FORM = '{"name": "the tool\'s name", "arguments": {...}}'


def describe_tools(tools: Sequence[Mapping[str, Any]], choice: str = AUTO, parallel: bool = False) -> str:
    """What a model is told in front of a conversation; a little longer than the tools are as JSON.

    Args:
        tools: each with `name`, and perhaps `description` and `parameters`, a JSON schema.
        choice: `auto`, `required` or a tool's name.
        parallel: whether it may make several calls at once.
    """
    lines = [
        json.dumps(
            {key: tool[key] for key in ("name", "description", "parameters") if tool.get(key) is not None},
            ensure_ascii=False,
            separators=(",", ":"),
        )
        for tool in tools
    ]
    several = ", or with a list of several such calls: [{...}, {...}]" if parallel else ""
    if choice == AUTO:
        how = f"To call a tool, answer only with JSON of the form {_FORM}{several}. Otherwise answer in words."
    elif choice == REQUIRED:
        how = f"Answer only with a call of a tool, as JSON of the form {_FORM}{several}."
    else:
        how = f"Answer only with a call of the tool {json.dumps(choice)}, as JSON of the form {_FORM}."
    return "\n".join(["You have these tools; their parameters are JSON schemas:", *lines, how])


def may_be_words(wanted: ResponseFormat | None) -> bool:
    """Whether an answer of a format (None for none) may be words rather than JSON."""
    if isinstance(wanted, ToolsFormat):
        return wanted.choice == AUTO and wanted.otherwise is None
    return wanted is None


def tool_calls(text: str) -> list[JsonObject] | None:
    """The calls that an answer is, each with `name` and `arguments`; None where it is words, or was cut off.

    A call is `{"name": ..., "arguments": {...}}`; several are a list of these.
    """
    text = text.strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        parsed = json.loads(text, parse_float=_finite, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    calls = parsed if isinstance(parsed, list) else [parsed]
    if not calls or not all(map(_is_call, calls)):
        return None
    return [{"name": call["name"], "arguments": call["arguments"]} for call in calls]


def _is_call(value: Any) -> bool:
    is_whole = isinstance(value, dict) and value.keys() == {"name", "arguments"}
    return is_whole and isinstance(value["name"], str) and isinstance(value["arguments"], dict)


def _finite(digits: str) -> float:
    """A number; the largest where it is larger, since JSON cannot say infinity again."""
    value = float(digits)
    return value if math.isfinite(value) else math.copysign(sys.float_info.max, value)


def _refused(name: str) -> float:
    raise ValueError(name)
