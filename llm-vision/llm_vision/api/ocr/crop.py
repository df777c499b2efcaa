"""POST /ocr reads a crop; GET /languages lists what can be read."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from ...http.openapi import READING_CODES, error_responses
from ...services.reading.crops import Reading
from ..shared.dependencies import ServicesDep
from ..shared.fallback import join_notices
from ..shared.request_docs import picture_body
from ..shared.uploads import read_upload
from .bodies import Language, Languages, OcrAnswer, OcrForm, RubyPair
from .imagetrans import answer_imagetrans, is_imagetrans
from .reading import make_ocr_request, read_crop, truncation_headers

router = APIRouter(tags=["OCR"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    **error_responses(*READING_CODES),
}


@router.post(
    "/ocr",
    response_model=OcrAnswer,
    responses=_ANSWERS,
    openapi_extra=picture_body(OcrForm),
    summary="Read a crop",
)
async def ocr(request: Request, services: ServicesDep) -> Response | OcrAnswer:
    """Read the text of a speech bubble, caption or other crop, in reading order.

    Send `Accept: text/plain` for the text alone.
    """
    upload = await read_upload(request, OcrForm, services.max_file_bytes)
    if is_imagetrans(upload):
        return await answer_imagetrans(upload, services, request.state.client)
    wanted = make_ocr_request(upload.fields, may_manage=request.state.may_manage)
    reading = await read_crop(upload.picture, services, request.state.client, wanted)
    if prefers_plain_text(request.headers.get("accept", "")):
        return PlainTextResponse(reading.text + "\n", headers=truncation_headers(reading))
    answer = as_answer(reading)
    answer.notice = join_notices(answer.notice, upload.notice)
    return answer


def as_answer(reading: Reading) -> OcrAnswer:
    """A reading as JSON."""
    return OcrAnswer(
        text=reading.text,
        language=reading.language,
        confidence=reading.confidence,
        engine=reading.engine,
        no_text=not reading.text,
        degraded=reading.degraded,
        truncated=reading.truncated,
        notice=reading.notice,
        ruby=None if reading.rubies is None else [RubyPair(base=pair.base, ruby=pair.ruby) for pair in reading.rubies],
    )


@router.head("/ocr", summary="Is there an OCR service here?", response_class=Response)
async def ocr_exists() -> Response:
    """Answers without a body; some clients ask this as a health check."""
    return Response(media_type="text/plain")


@router.get("/languages", responses=error_responses(), summary="Languages that can be read")
async def languages(services: ServicesDep) -> Languages:
    """Every language code that /ocr takes, and the engines that read it."""
    known = services.ocr.languages().items()
    return Languages(languages=[Language(code=code, name=name, engines=engines) for code, (name, engines) in known])


def prefers_plain_text(accept: str) -> bool:
    """Whether text/plain stands in an Accept header before JSON or anything."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in ("application/json", "application/*", "*/*"):
            return False
        if kind in ("text/plain", "text/*"):
            return True
    return False
