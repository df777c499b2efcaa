"""Bodies of Ollama's API as our own request."""

from __future__ import annotations

from typing import Any

from ...services.chat.messages import Call, JsonFormat, Message, ToolOptions
from ...services.chat.service import ChatRequest, Sampling
from ...services.pictures.sources import PictureSource
from ..shared.chat_bodies import DEFAULT_TOKENS, MOST_TOKENS
from .bodies import GenerateBody, OllamaChatBody, OllamaMessage, Options


def read_chat_request(body: OllamaChatBody, *, may_manage: bool) -> ChatRequest:
    """What a conversation asks for; how long the model stays is for those who may manage models."""
    tools = tuple(tool.function.model_dump(exclude_none=True) for tool in body.tools or ())
    response_format = _read_response_format(body.format)
    return ChatRequest(
        model=body.model,
        messages=tuple(map(_read_message, body.messages or ())),
        pictures=tuple(
            PictureSource(text, f"messages[{number}].images[{place}]", may_be_base64=True)
            for number, message in enumerate(body.messages or ())
            for place, text in enumerate(message.images or ())
        ),
        sampling=_read_sampling(body.options or Options.model_validate({})),
        response_format=response_format,
        tools=ToolOptions(tools, "auto", otherwise=response_format) if tools else None,
        keep_alive=body.keep_alive if may_manage else None,
        may_download=may_manage,
    )


def read_generate_request(body: GenerateBody, *, may_manage: bool) -> ChatRequest:
    """What a prompt asks for; how long the model stays is for those who may manage models."""
    images = body.images or ()
    system = [Message("system", body.system)] if body.system else []
    question = [Message("user", body.prompt or "", len(images))] if body.prompt or images else []
    return ChatRequest(
        model=body.model,
        messages=(*system, *question) if question else (),
        pictures=tuple(
            PictureSource(text, f"images[{place}]", may_be_base64=True) for place, text in enumerate(images)
        ),
        sampling=_read_sampling(body.options or Options.model_validate({})),
        response_format=_read_response_format(body.format),
        keep_alive=body.keep_alive if may_manage else None,
        may_download=may_manage,
    )


def _read_message(message: OllamaMessage) -> Message:
    return Message(
        role=message.role,
        text=message.content or "",
        pictures=len(message.images or ()),
        calls=tuple(Call(call.function.name, call.function.arguments or {}) for call in message.tool_calls or ()),
        tool=message.tool_name or "",
    )


def _read_sampling(options: Options) -> Sampling:
    most = options.num_predict
    return Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=DEFAULT_TOKENS if most is None else most if most > 0 else MOST_TOKENS,
        stop=(options.stop,) if isinstance(options.stop, str) else tuple(options.stop or ()),
        seed=options.seed,
    )


def _read_response_format(wanted: str | dict[str, Any] | None) -> JsonFormat | None:
    if isinstance(wanted, dict):
        return JsonFormat(wanted)
    return JsonFormat() if wanted else None
