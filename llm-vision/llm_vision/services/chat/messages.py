"""The turns of a conversation as a model reads them; tools as text, and calls read back from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...models.base import JsonObject
from ...models.tool_text import AUTO, describe_tools, tool_calls

_CALLS_BEGIN = ('{"name":', '{"arguments":', '[{"name":', '[{"arguments":')
"""Without space."""
_AS_JSON = "What you answer in words must be JSON."


@dataclass(frozen=True)
class Call:
    """What a model wants a tool to do."""

    name: str
    arguments: JsonObject


@dataclass(frozen=True)
class Message:
    """A turn of a conversation; `pictures` stand before its text."""

    role: str
    """`system`, `user`, `assistant` or `tool`."""
    text: str
    pictures: int = 0
    calls: tuple[Call, ...] = ()
    tool: str = ""
    """Whose result it is."""


@dataclass(frozen=True)
class ToolWish:
    """What may or must be called."""

    tools: tuple[JsonObject, ...]
    """Each with `name`, and perhaps `description` and `parameters`, a JSON schema."""
    choice: str
    """`auto`, `required` or a tool's name."""
    parallel: bool = True
    otherwise: JsonObject | None = None
    """The form of an answer that calls nothing, as of `Sampling.format`; None where it may be any words."""


def for_model(messages: Sequence[Message], tools: ToolWish | None) -> list[JsonObject]:
    """Messages as the parameters of a `chat` task: what a tool said is told by the user, neighbours of one role are one
    turn.
    """
    told = [Message("system", _told(tools))] if tools else []
    turns: list[JsonObject] = []
    for message in (*told, *messages):
        role, content = ("user" if message.role == "tool" else message.role), list(_content(message))
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += [{"type": "text", "text": "\n"}, *content]
        else:
            turns.append({"role": role, "content": content})
    return turns


def _told(wish: ToolWish) -> str:
    told = describe_tools(wish.tools, wish.choice, parallel=wish.parallel)
    return f"{told}\n{_AS_JSON}" if wish.otherwise and wish.choice == AUTO else told


def _content(message: Message) -> Iterable[JsonObject]:
    for _ in range(message.pictures):
        yield {"type": "image"}
    text = message.text
    if message.role == "tool":
        text = f"Result of {message.tool or 'the tool'}: {text}"
    if message.calls:
        calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
        text += json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    yield {"type": "text", "text": text}


def form_of(wish: ToolWish) -> JsonObject:
    """What an answer must look like, as a model is told."""
    tools = [{"name": tool["name"], "parameters": tool.get("parameters")} for tool in wish.tools]
    return {
        "type": "tools",
        "tools": tools,
        "choice": wish.choice,
        "parallel": wish.parallel,
        "otherwise": wish.otherwise,
    }


def calls_in(text: str) -> tuple[Call, ...]:
    """What an answer calls; nothing where it is only text.

    Its shape decides: what looks like a call is one. Where an answer may also be JSON of another form, the grammar
    leaves out of that form what looks like a call, so that every call is one of a tool and fits its parameters.
    """
    return tuple(Call(call["name"], call["arguments"]) for call in tool_calls(text) or ())


def may_become_calls(text: str) -> bool:
    """Whether an answer that begins like this can turn out to be calls."""
    begun = "".join(text[:200].split())
    return any(calls.startswith(begun[: len(calls)]) for calls in _CALLS_BEGIN)
