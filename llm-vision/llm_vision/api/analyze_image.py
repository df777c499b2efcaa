"""POST /analyze_image answers a question about a picture."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ..schemas.analyze_image import AnalyzeAnswer, AnalyzeForm, Usage
from ..schemas.fallback import Fallback
from ..services.vision import VisionWish
from .dependencies import ServicesDep
from .forms import picture_body, read_picture_form
from .openapi import PICTURE_CODES, error_responses

router = APIRouter(tags=["Analysis"])

_ERRORS = error_responses(
    *PICTURE_CODES, "prompt_too_long", "context_length_exceeded", "upstream_rejected", "upstream_unavailable"
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
    data, form = await read_picture_form(request, AnalyzeForm, services.max_file_bytes)
    wish = VisionWish(form.model, form.prompt, may_fall_back=form.fallback is Fallback.AUTO)
    async with (
        services.vision.admit(wish, request.state.client) as analyst,
        services.pictures.decoded(data, request.state.client) as picture,
    ):
        analysis = await analyst.analyze(picture)
    return AnalyzeAnswer(
        analysis=analysis.text,
        confidence=analysis.confidence,
        model=analysis.model_id,
        usage=Usage.of(**analysis.usage) if analysis.usage else None,
        degraded=analysis.notice is not None,
        notice=analysis.notice,
    )
