"""Ollama's API: GET /, which clients ask who is there, POST /api/chat and /api/generate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import State

from ...errors import Forbidden, VisionError
from ...http.access import leads_to_docs
from ...http.bodies.json_body import json_body
from ...http.media_types import NDJSON
from ...http.openapi import CHAT_CODES, error_responses, ollama_responses
from ...services.chat.service import ChatRequest
from ..shared.answering import StreamedAnswer
from ..shared.dependencies import Services, ServicesDep
from ..shared.request_docs import PICTURE_BASE64, READER, json_request
from .answer import Lines, as_chat, as_generated, format_line
from .bodies import ChatAnswerLine, GenerateAnswerLine, GenerateBody, OllamaChatBody
from .request import read_chat_request, read_generate_request

router = APIRouter(tags=["Ollama"])
_QUESTION = "What does it say?"
_CHAT = {
    "model": READER,
    "messages": [{"role": "user", "content": _QUESTION, "images": [PICTURE_BASE64]}],
    "stream": False,
}
_PROMPT = {"model": READER, "prompt": _QUESTION, "images": [PICTURE_BASE64], "stream": False}


def _describe_answers(line: type[ChatAnswerLine] | type[GenerateAnswerLine]) -> dict[int | str, dict[str, Any]]:
    lines = {NDJSON: {"schema": {"$ref": f"#/components/schemas/{line.__name__}"}}}
    return {200: {"content": lines}, **ollama_responses(*CHAT_CODES, "model_in_use")}


@router.get("/", responses=error_responses(), response_class=PlainTextResponse, summary="Is the service there?")
@router.head("/", include_in_schema=False)
async def heartbeat(request: Request) -> Response:
    """What Ollama says: its command line asks before each command. A browser is led to the page of the API."""
    if leads_to_docs(request.method, request.url.path, request.headers):
        return RedirectResponse("/docs", status_code=302)
    return PlainTextResponse("Ollama is running")


@router.post(
    "/api/chat",
    response_model=ChatAnswerLine,
    responses=_describe_answers(ChatAnswerLine),
    openapi_extra=json_request(OllamaChatBody, _CHAT),
    summary="Converse about pictures",
)
async def chat(
    request: Request, body: Annotated[OllamaChatBody, json_body(OllamaChatBody, any_type=True)], services: ServicesDep
) -> Response:
    """The answer to a conversation, a line of JSON a piece; without messages, the model is loaded or unloaded."""
    wanted = read_chat_request(body, may_manage=request.state.may_manage)
    return await _answer(wanted, _Shape(as_chat, is_streamed=body.is_streamed), services, request.state)


@router.post(
    "/api/generate",
    response_model=GenerateAnswerLine,
    responses=_describe_answers(GenerateAnswerLine),
    openapi_extra=json_request(GenerateBody, _PROMPT),
    summary="Answer a prompt",
)
async def generate(
    request: Request, body: Annotated[GenerateBody, json_body(GenerateBody, any_type=True)], services: ServicesDep
) -> Response:
    """The answer to a prompt, a line of JSON a piece; without a prompt, the model is loaded or unloaded."""
    wanted = read_generate_request(body, may_manage=request.state.may_manage)
    return await _answer(wanted, _Shape(as_generated, is_streamed=body.is_streamed), services, request.state)


@dataclass(frozen=True)
class _Shape:
    """How an answer is sent."""

    of_text: Callable[[str], dict[str, Any]]
    """Where the route's lines have their text."""
    is_streamed: bool


async def _answer(wanted: ChatRequest, shape: _Shape, services: Services, asking: State) -> Response:
    spec = await services.chat.spec(wanted.model)
    lines = Lines(spec.model_id, shape.of_text)
    if not wanted.messages:
        if not asking.may_manage:
            raise Forbidden("loading and unloading need a key of VISION_ADMIN_KEYS")
        return _make_response(await _load_or_unload(wanted, lines, services), stream=shape.is_streamed)

    answer = await services.chat.answer(spec, wanted, asking.client).begin()
    if shape.is_streamed:
        return StreamedAnswer(answer, lines.events(answer), NDJSON, _failure_line)
    return JSONResponse(await lines.make_answer(answer))


async def _load_or_unload(wanted: ChatRequest, lines: Lines, services: Services) -> dict[str, Any]:
    """Without anything to answer, only the memory is meant."""
    if wanted.keep_alive == 0:
        await services.models.unload(lines.model_id)
        return lines.make_empty("unload")
    await services.models.load(lines.model_id, wanted.keep_alive)
    return lines.make_empty("load")


def _make_response(line: dict[str, Any], *, stream: bool) -> Response:
    return Response(format_line(line), media_type=NDJSON if stream else "application/json")


def _failure_line(error: VisionError) -> str:
    return format_line({"error": error.detail})
