"""POST /analyze_image answers a question about a picture."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter, Request

from ..schemas.analyze_image import AnalyzeAnswer, AnalyzeForm, History, Usage
from ..schemas.fallback import Fallback
from ..services.vision import Sampling, Turn, VisionWish
from .dependencies import ServicesDep
from .fields import validated
from .forms import picture_body, read_upload
from .json_body import parse_object
from .openapi import PICTURE_CODES, URL_CODES, error_responses

router = APIRouter(tags=["Analysis"])

_ERRORS = error_responses(
    *PICTURE_CODES,
    *URL_CODES,
    "prompt_too_long",
    "context_length_exceeded",
    "upstream_rejected",
    "upstream_unavailable",
)


@router.post(
    "/analyze_image",
    responses=_ERRORS,
    openapi_extra=picture_body(AnalyzeForm),
    summary="Ask about a picture",
)
async def analyze_image(request: Request, services: ServicesDep) -> AnalyzeAnswer:
    """Answer a prompt about a picture.

    A vision-language model answers: the one that is named, or the one that the service is set to. While that one's
    weights are missing, and none was named, the answer is made of facts (kind, size, likely things, colours, text),
    `degraded` is true and `notice` says what is missing.
    """
    upload = await read_upload(request, AnalyzeForm, services.max_file_bytes)
    form = upload.fields
    wish = VisionWish(
        form.model,
        form.prompt,
        may_fall_back=form.fallback is Fallback.AUTO,
        history=_history_of(form),
        sampling=Sampling(form.temperature, form.top_p, form.max_tokens),
    )
    async with AsyncExitStack() as held:
        analyst = await held.enter_async_context(services.vision.admit(wish, request.state.client))
        data = await services.url_pictures.fetch(form.url) if form.url else upload.picture
        picture = await held.enter_async_context(services.pictures.decoded(data, request.state.client))
        analysis = await analyst.analyze(picture)
    return AnalyzeAnswer(
        analysis=analysis.text,
        confidence=analysis.confidence,
        model=analysis.model_id,
        usage=Usage.of(**analysis.usage) if analysis.usage else None,
        degraded=analysis.notice is not None,
        notice=analysis.notice,
    )


def _history_of(form: AnalyzeForm) -> tuple[Turn, ...]:
    """The earlier turns, which come as JSON within a form or as a part of a JSON body.

    Raises:
        VisionError: they are no such JSON.
    """
    found = form.history or []
    if isinstance(found, str):
        found = validated(History, parse_object(f'{{"history": {found}}}'.encode())).history
    return tuple(Turn(turn.role, turn.content) for turn in found)
