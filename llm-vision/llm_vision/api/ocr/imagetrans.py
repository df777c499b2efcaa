"""What ImageTrans's plugins ask of /ocr and of /detect, and in which shapes they take lines."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from ...http.openapi import READING_CODES, error_responses
from ...manga.lines import TextLine
from ...services.reading.crops import OcrRequest
from ..shared.dependencies import Services, ServicesDep
from ..shared.request_docs import picture_body
from ..shared.uploads import FOREIGN_FIELD, Upload, read_upload
from .bodies import OcrForm
from .reading import EMBEDDED, list_lines, read_crop, read_page, truncation_headers, truncation_member

router = APIRouter(tags=["Manga tools"])

Corners = tuple[tuple[float, float], ...]

_PADDLE_LANGUAGES = {"japan": "ja", "ch": "zh", "chinese_cht": "zh", "korean": "ko", "rs_latin": "sr"}
"""PaddleOCR's names of languages, where they are not the usual codes."""
_ANSWERS = error_responses(*READING_CODES)


def is_imagetrans(upload: Upload[OcrForm]) -> bool:
    """Whether one of ImageTrans's plugins asks."""
    return upload.part == FOREIGN_FIELD


async def answer_imagetrans(upload: Upload[OcrForm], services: Services, client: str) -> Response:
    """What a plugin of ImageTrans expects: the mangaOCR one plain text, the paddleOCR one lines with their corners."""
    language = upload.texts.get("lang")
    if language is None:
        wanted = OcrRequest(None, upload.fields.language, upload.fields.furigana)
        reading = await read_crop(upload.picture, services, client, wanted)
        return PlainTextResponse(reading.text, headers=truncation_headers(reading))
    page = await read_page(upload.picture, services, client, OcrRequest(None, find_code(language)))
    lines = [_as_paddle_line(line, text) for line, text in list_lines(page.blocks)]
    return JSONResponse({"text_lines": lines, **truncation_member(page)})


@router.post("/detect", responses=_ANSWERS, openapi_extra=picture_body(OcrForm), summary="Find lines (ImageTrans)")
async def detect(request: Request, services: ServicesDep) -> dict[str, Any]:
    """The corners of all lines, in reading order, with empty texts."""
    upload = await read_upload(request, OcrForm, services.max_file_bytes)
    wanted = OcrRequest(EMBEDDED, find_code(upload.texts.get("lang", "")))
    page = await read_page(upload.picture, services, request.state.client, wanted)
    lines = [_as_paddle_line(line, "") for line, _ in list_lines(page.blocks)]
    return {"text_lines": lines, **truncation_member(page)}


def find_code(language: str) -> str:
    """A language code as ours spell it: PaddleOCR's names, and Japanese where nothing is said."""
    return _PADDLE_LANGUAGES.get(language, language) or "ja"


def _as_paddle_line(line: TextLine, text: str) -> dict[str, object]:
    return {**number_corners(line.polygon, first=0, digits=None), "text": text}


def number_corners(corners: Corners, *, first: int, digits: int | None) -> dict[str, float]:
    """Corners as x0, y0, x1 and so on, counted from `first`."""
    numbered: dict[str, float] = {}
    for number, (x, y) in enumerate(corners, first):
        numbered |= {f"x{number}": round(x, digits), f"y{number}": round(y, digits)}
    return numbered
