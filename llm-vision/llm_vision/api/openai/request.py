"""A body of OpenAI's chat completions as our own request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...errors import InvalidParameter, PromptTooLong, VisionError
from ...http.bodies.json_body import parse_object
from ...services.chat.messages import Call, JsonFormat, Message, ToolOptions
from ...services.chat.service import ChatRequest, Sampling
from ...services.pictures.sources import FrameSource, PictureSource, Source
from ..shared.chat_bodies import DEFAULT_TOKENS
from .request_bodies import (
    ChatCompletionBody,
    ChatMessage,
    ImagePart,
    JsonSchemaFormat,
    NamedTool,
    RefusalPart,
    SomeTools,
    StreamPart,
    TextPart,
    ToolCall,
)

MOST_CALL_CHARS = 262_144
"""Of the arguments of all earlier calls: they are parsed while other requests wait."""
_ROLES = {"developer": "system", "function": "tool"}
"""Other names of them."""


def read_chat_request(body: ChatCompletionBody, *, may_manage: bool) -> ChatRequest:
    """What a body asks for, of a client that may or may not manage models.

    Raises:
        InvalidParameter: its parts contradict each other.
        PromptTooLong: earlier calls are too long to be looked at.
    """
    calls = [call for message in body.messages for call in message.tool_calls or ()]
    _check_length(calls)
    names = {call.id: call.function.name for call in calls if call.id}
    response_format = _read_response_format(body)
    return ChatRequest(
        model=body.model,
        may_download=may_manage,
        messages=tuple(_read_message(message, names) for message in body.messages),
        pictures=tuple(_list_pictures(body)),
        sampling=Sampling(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=body.max_completion_tokens or body.max_tokens or DEFAULT_TOKENS,
            stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
            seed=body.seed,
            top_logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        ),
        response_format=response_format,
        tools=_read_tools(body, response_format),
    )


def _list_pictures(body: ChatCompletionBody) -> list[Source]:
    return [
        _read_source(part, f"messages[{number}].content[{place}]")
        for number, message in enumerate(body.messages)
        for place, part in enumerate(_list_parts(message))
        if isinstance(part, ImagePart | StreamPart)
    ]


def _read_source(part: ImagePart | StreamPart, param: str) -> Source:
    if isinstance(part, StreamPart):
        return FrameSource(part.stream.stream_id, f"{param}.stream")
    url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
    return PictureSource(url, f"{param}.image_url")


def _list_parts(message: ChatMessage) -> Sequence[TextPart | RefusalPart | ImagePart | StreamPart]:
    if isinstance(message.content, str):
        return [TextPart(type="text", text=message.content)]
    return message.content or []


def _read_message(message: ChatMessage, names: dict[str, str]) -> Message:
    parts = _list_parts(message)
    pictures = sum(isinstance(part, ImagePart | StreamPart) for part in parts)
    if pictures and message.role != "user":
        raise InvalidParameter("images belong in user messages", param="messages.content")
    return Message(
        role=_ROLES.get(message.role, message.role),
        text="\n".join(_list_texts(parts)),
        pictures=pictures,
        calls=tuple(_read_call(call) for call in message.tool_calls or ()),
        tool=names.get(message.tool_call_id or "", message.name or ""),
    )


def _list_texts(parts: Sequence[TextPart | RefusalPart | ImagePart | StreamPart]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, TextPart):
            yield part.text
        elif isinstance(part, RefusalPart):
            yield part.refusal


def _check_length(calls: Sequence[ToolCall]) -> None:
    total = sum(len(call.function.arguments) for call in calls)
    if total > MOST_CALL_CHARS:
        raise PromptTooLong(f"{total} characters of calls; the limit is {MOST_CALL_CHARS}", param="messages.tool_calls")


def _read_call(call: ToolCall) -> Call:
    try:
        arguments = parse_object((call.function.arguments or "{}").encode())
    except VisionError:
        raise InvalidParameter("the arguments of a call must be a JSON object", param="messages.tool_calls") from None
    return Call(call.function.name, arguments)


def _read_tools(body: ChatCompletionBody, otherwise: JsonFormat | None) -> ToolOptions | None:
    known = {tool.function.name: tool.function.model_dump(exclude_none=True) for tool in body.tools or ()}
    if len(known) < len(body.tools or ()):
        raise InvalidParameter("two tools have the same name", param="tools")
    allowed, choice = _read_choice(body)
    if not set(allowed) <= set(known):
        raise InvalidParameter("tool_choice names none of the tools", param="tool_choice")
    if not known or choice == "none":
        return None
    tools = tuple(tool for name, tool in known.items() if name in (allowed or known))
    return ToolOptions(tools, choice, parallel=body.parallel_tool_calls is not False, otherwise=otherwise)


def _read_choice(body: ChatCompletionBody) -> tuple[list[str], str]:
    """The tools that `tool_choice` names, and whether one may or must be called: `ToolOptions.choice`."""
    wanted = body.tool_choice or "auto"
    if isinstance(wanted, NamedTool):
        return [wanted.function.name], wanted.function.name
    if isinstance(wanted, SomeTools):
        return [tool.function.name for tool in wanted.allowed_tools.tools], wanted.allowed_tools.mode
    return [], wanted


def _read_response_format(body: ChatCompletionBody) -> JsonFormat | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    return JsonFormat(wanted.json_schema.schema_ if isinstance(wanted, JsonSchemaFormat) else None)
