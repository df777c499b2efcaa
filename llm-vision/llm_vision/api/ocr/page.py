"""POST /ocr/page reads a whole page."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from ...http.openapi import READING_CODES, error_responses
from ...images.annotate import draw_labelled_boxes
from ...manga.mokuro import make_page
from ...manga.page import ReadBlock, ReadingOrder
from ...services.pictures.sources import FileSource
from ...services.reading.pages import PageReading, PageRequest
from ..shared.dependencies import ServicesDep
from ..shared.fallback import join_notices
from ..shared.request_docs import picture_body
from ..shared.uploads import read_upload
from .bodies import RubyPair
from .crop import prefers_plain_text
from .page_bodies import PageAlternative, PageAnswer, PageBlock, PageForm, PageFormat, PageLine
from .reading import make_ocr_request, truncation_headers

router = APIRouter(tags=["OCR"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
        }
    },
    **error_responses(*READING_CODES),
}


@router.post(
    "/ocr/page",
    response_model=PageAnswer | dict[str, Any],  # or a .mokuro file
    responses=_ANSWERS,
    openapi_extra=picture_body(PageForm),
    summary="Read a whole page",
)
async def ocr_page(request: Request, services: ServicesDep) -> Response | PageAnswer:
    """Find the texts of a page, put them into reading order and read them: manga, comics, facing pages, tall strips."""
    upload = await read_upload(request, PageForm, services.max_file_bytes)
    form = upload.fields
    wanted = make_ocr_request(form, may_manage=request.state.may_manage)
    async with (
        services.pages.admit(PageRequest(wanted, form.reading_order), request.state.client) as reader,
        services.pictures.decoded(FileSource(upload.picture), request.state.client) as picture,
    ):
        page = await reader.read(picture)
        if form.format is PageFormat.IMAGE:
            boxes = [(block.block.box, str(number + 1)) for number, block in enumerate(page.blocks)]
            drawn = await asyncio.to_thread(draw_labelled_boxes, picture, boxes)
            return Response(drawn, media_type="image/png", headers=truncation_headers(page))
    if form.format is PageFormat.MOKURO:
        return JSONResponse(make_page(page.width, page.height, page.blocks), headers=truncation_headers(page))
    if form.format is PageFormat.TEXT or prefers_plain_text(request.headers.get("accept", "")):
        return PlainTextResponse(page.text + "\n", headers=truncation_headers(page))
    answer = as_answer(page)
    answer.notice = join_notices(answer.notice, upload.notice)
    return answer


def as_answer(page: PageReading) -> PageAnswer:
    """A page as JSON."""
    return PageAnswer(
        width=page.width,
        height=page.height,
        blocks=[_as_block(block, order) for order, block in enumerate(page.blocks)],
        text=page.text,
        language=page.language,
        engine=page.engine,
        reading_order=ReadingOrder.RTL if page.right_to_left else ReadingOrder.LTR,
        degraded=page.degraded,
        truncated=page.truncated,
        notice=page.notice,
    )


def _as_block(block: ReadBlock, order: int) -> PageBlock:
    lines = zip(block.block.lines, block.line_texts, strict=True)
    return PageBlock(
        box=block.block.box,
        vertical=block.block.vertical,
        font_size=block.block.font_size,
        lines=[
            PageLine(polygon=line.polygon, text=text, confidence=line.confidence if line.text else None)
            for line, text in lines
        ],
        text=block.text,
        confidence=block.confidence,
        engine=block.engine,
        order=order,
        alternatives=[
            PageAlternative(text=other.text, confidence=other.confidence, engine=other.engine)
            for other in block.alternatives
        ],
        ruby=None if block.rubies is None else [RubyPair(base=pair.base, ruby=pair.ruby) for pair in block.rubies],
    )
