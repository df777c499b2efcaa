"""The turns of a conversation as a model reads them; tools as text, and calls read back from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...models.base import JsonObject
from ...models.tasks.chat import JsonFormat as JsonFormat
from ...models.tasks.chat import PicturePlace, ToolsFormat, Turn
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
class ToolOptions:
    """What may or must be called."""

    tools: tuple[JsonObject, ...]
    """Each with `name`, and perhaps `description` and `parameters`, a JSON schema."""
    choice: str
    """`auto`, `required` or a tool's name."""
    parallel: bool = True
    otherwise: JsonFormat | None = None
    """The format of an answer that calls nothing; None where it may be any words."""

    @property
    def response_format(self) -> ToolsFormat:
        """What an answer must look like."""
        tools = tuple({"name": tool["name"], "parameters": tool.get("parameters")} for tool in self.tools)
        return ToolsFormat(tools, self.choice, self.parallel, self.otherwise)

    @property
    def description(self) -> str:
        """What a model reads about them before a conversation."""
        text = describe_tools(self.tools, self.choice, parallel=self.parallel)
        return f"{text}\n{_AS_JSON}" if self.otherwise and self.choice == AUTO else text


def turns_for_model(messages: Sequence[Message], tools: ToolOptions | None) -> tuple[Turn, ...]:
    """Messages as a model reads them: a tool's result becomes a turn of the user, neighbours of one role one turn."""
    introduction = [Message("system", tools.description)] if tools else []
    turns: list[Turn] = []
    for message in (*introduction, *messages):
        turn = Turn("user" if message.role == "tool" else message.role, tuple(_render_parts(message)))
        if turns and turns[-1].role == turn.role:
            turn = Turn(turn.role, (*turns.pop().parts, "\n", *turn.parts))
        turns.append(turn)
    return tuple(turns)


def _render_parts(message: Message) -> Iterable[str | PicturePlace]:
    yield from (PicturePlace.HERE for _ in range(message.pictures))
    text = message.text
    if message.role == "tool":
        text = f"Result of {message.tool or 'the tool'}: {text}"
    if message.calls:
        calls = [{"name": call.name, "arguments": call.arguments} for call in message.calls]
        text += json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    yield text


def read_calls(text: str, tools: ToolOptions) -> tuple[Call, ...]:
    """What an answer calls; nothing where it is only text.

    Its shape decides: what looks like a call of the tools is one. Where an answer may also be JSON of another format,
    the grammar leaves out of that format what looks like a call, so that every call fits its parameters.
    """
    offered = {tool["name"] for tool in tools.tools}
    calls = [Call(call["name"], call["arguments"]) for call in tool_calls(text) or ()]
    return tuple(calls) if all(call.name in offered for call in calls) else ()


def may_become_calls(text: str) -> bool:
    """Whether an answer that begins like this can turn out to be calls."""
    start = "".join(text[:200].split())
    return any(calls.startswith(start[: len(calls)]) for calls in _CALLS_BEGIN)
