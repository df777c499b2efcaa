"""Bodies of Ollama's API as our own request."""

from __future__ import annotations

from typing import Any

from ...services.analysis.service import Sampling
from ...services.chat.messages import Call, Message, ToolWish
from ...services.chat.service import ChatWish
from ...services.pictures.sources import PictureSource
from ..shared.chat_bodies import DEFAULT_TOKENS, MOST_TOKENS
from .bodies import GenerateBody, OllamaChatBody, OllamaMessage, Options


def chat_wish(body: OllamaChatBody, *, may_manage: bool) -> ChatWish:
    """What a conversation asks for; how long the model stays is for those who may manage models."""
    tools = tuple(tool.function.model_dump(exclude_none=True) for tool in body.tools or ())
    return ChatWish(
        model_id=body.model,
        messages=tuple(map(_message, body.messages or ())),
        sampling=_sampling(body.options or Options.model_validate({}), body.format),
        tools=ToolWish(tools, "auto", otherwise=_format(body.format)) if tools else None,
        keep_alive=body.keep_alive if may_manage else None,
    )


def generate_wish(body: GenerateBody, *, may_manage: bool) -> ChatWish:
    """What a prompt asks for; how long the model stays is for those who may manage models."""
    told = [Message("system", body.system)] if body.system else []
    asked = [Message("user", body.prompt or "", len(body.images or ()))] if body.prompt or body.images else []
    return ChatWish(
        model_id=body.model,
        messages=(*told, *asked) if asked else (),
        sampling=_sampling(body.options or Options.model_validate({}), body.format),
        keep_alive=body.keep_alive if may_manage else None,
    )


def chat_pictures(body: OllamaChatBody) -> list[PictureSource]:
    """The pictures of all messages, in their order."""
    return [
        PictureSource(text, f"messages[{number}].images[{place}]", may_be_base64=True)
        for number, message in enumerate(body.messages or ())
        for place, text in enumerate(message.images or ())
    ]


def generate_pictures(body: GenerateBody) -> list[PictureSource]:
    """The pictures of a prompt."""
    return [PictureSource(text, f"images[{place}]", may_be_base64=True) for place, text in enumerate(body.images or ())]


def _message(message: OllamaMessage) -> Message:
    return Message(
        role=message.role,
        text=message.content or "",
        pictures=len(message.images or ()),
        calls=tuple(Call(call.function.name, call.function.arguments or {}) for call in message.tool_calls or ()),
        tool=message.tool_name or "",
    )


def _sampling(options: Options, wanted: str | dict[str, Any] | None) -> Sampling:
    most = options.num_predict
    return Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=DEFAULT_TOKENS if most is None else most if most > 0 else MOST_TOKENS,
        stop=(options.stop,) if isinstance(options.stop, str) else tuple(options.stop or ()),
        seed=options.seed,
        format=_format(wanted),
    )


def _format(wanted: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if isinstance(wanted, dict):
        return {"type": "json_schema", "schema": wanted}
    return {"type": "json_object"} if wanted else None
