"""OpenAI's API: /v1/models and /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response

from ...http.bodies.json_body import json_body
from ...http.media_types import SSE
from ...http.openapi import CHAT_CODES, openai_responses
from ...services.chat.service import AUTO
from ..shared.answering import StreamedAnswer
from ..shared.chat_bodies import ListsAll
from ..shared.dependencies import ServicesDep
from ..shared.request_docs import PICTURE_URI, READER, json_request
from .answer import Chunks, failure_event, make_completion
from .answer_bodies import ChatCompletion, ModelCard, ModelCards
from .request import read_chat_request
from .request_bodies import ChatCompletionBody

router = APIRouter(prefix="/v1", tags=["OpenAI"])
_PICTURE = {"type": "image_url", "image_url": {"url": PICTURE_URI}}
_QUESTION = {
    "model": READER,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "What does it say?"}, _PICTURE]}],
}

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {SSE: {}}},
    **openai_responses(*CHAT_CODES, "stream_not_found"),
}


@router.get("/models", responses=openai_responses("invalid_parameter"), summary="Models to chat with")
async def list_models(services: ServicesDep, everything: ListsAll = False) -> ModelCards:
    """`auto`, which is the model that the service is set to, and the models that can chat and whose weights are here.

    With `all=true`, also models whose weights are not here, and those that only read text.
    """
    listed = await services.models.chat_models(everything=everything)
    return ModelCards(data=[_card(model_id) for model_id in (AUTO, *(status.spec.model_id for status in listed))])


@router.get(
    "/models/{model_id:path}", responses=openai_responses("model_not_found", "unsupported_task"), summary="One model"
)
async def get_model(
    model_id: Annotated[str, Path(openapi_examples={"reader": {"value": READER}})], services: ServicesDep
) -> ModelCard:
    """A model by its id, or by another name of it."""
    return _card((await services.chat.spec(model_id)).model_id)


def _card(model_id: str) -> ModelCard:
    owner, slash, _ = model_id.partition("/")
    return ModelCard(id=model_id, owned_by=owner if slash else "llm-vision")


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses=_ANSWERS,
    openapi_extra=json_request(ChatCompletionBody, _QUESTION),
    summary="Converse about pictures",
)
async def chat_completions(
    request: Request, body: Annotated[ChatCompletionBody, json_body(ChatCompletionBody)], services: ServicesDep
) -> Response:
    """The answer to a conversation; with `stream` as server-sent events, each as soon as it is there."""
    wanted = read_chat_request(body, may_manage=request.state.may_manage)
    spec = await services.chat.spec(wanted.model)

    answer = await services.chat.answer(spec, wanted, request.state.client).begin()
    if body.stream:
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        chunks = Chunks(spec.model_id, include_usage=include_usage)
        request_id: str = request.state.request_id
        return StreamedAnswer(answer, chunks.events(answer), SSE, lambda error: failure_event(error, request_id))
    return JSONResponse(make_completion(await answer.finish()))
