"""The shapes of manga tools that can call an OCR server: Mangatan, owocr."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ...http.bodies.body import read_body
from ...http.limits import too_large
from ...http.openapi import PICTURE_CODES, READING_CODES, URL_CODES, error_responses
from ...manga.lines import Box, TextLine
from ...services.pictures.sources import PictureSource
from ...services.reading.crops import OcrRequest
from ...services.reading.pages import PageReading
from ..ocr.imagetrans import Corners, find_code, number_corners
from ..ocr.reading import EMBEDDED, list_lines, read_page, truncation_headers, truncation_member
from ..shared.dependencies import ServicesDep
from ..shared.request_docs import PICTURE_URI

router = APIRouter(tags=["Manga tools"])

_ANSWERS = error_responses(*READING_CODES)


@router.post(
    "/",
    responses=_ANSWERS,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
        "parameters": [{"name": "lang", "in": "query", "required": False, "schema": {"type": "string"}}],
    },
    summary="Read a picture (owocr)",
)
async def owocr(request: Request, services: ServicesDep) -> dict[str, Any]:
    """For owocr's engines: `[oneocr] url=` gets corners, `[winrtocr] url=`, which sends `lang`, upright boxes.

    The body is the picture itself, whatever its Content-Type says.
    """
    data = await read_body(request)
    if len(data) > services.max_file_bytes:
        raise too_large(services.max_file_bytes)
    language = request.query_params.get("lang")
    wanted = OcrRequest(EMBEDDED, find_code(language or ""))
    page = await read_page(data, services, request.state.client, wanted)
    place = _as_oneocr_place if language is None else _as_winrt_place
    return {
        "text": page.text,
        "lines": [
            {
                "text": text,
                "bounding_rect": place(line.polygon),
                "words": [
                    {"text": character, "bounding_rect": place(corners)}
                    for character, corners in place_characters(line, text)
                ],
            }
            for line, text in list_lines(page.blocks)
        ],
        **truncation_member(page),
    }


@router.get(
    "/ocr",
    responses=error_responses(*PICTURE_CODES, *URL_CODES),
    summary="Read a page by its URL (Mangatan)",
)
async def mangatan(
    request: Request,
    response: Response,
    services: ServicesDep,
    url: Annotated[
        str | None,
        Query(description="The page's address, or a data URI", openapi_examples={"picture": {"value": PICTURE_URI}}),
    ] = None,
) -> list[dict[str, Any]]:
    """Every block with its place in shares of the picture, in reading order.

    Addresses are off until `VISION_URL_HOSTS` is set.
    """
    data = await services.pictures.read(PictureSource(url or "", "url"), request.state.client)
    page = await read_page(data, services, request.state.client, OcrRequest(None, "ja"))
    response.headers.update(truncation_headers(page))
    return [{"text": block.text, "tightBoundingBox": _locate_box(block.block.box, page)} for block in page.blocks]


def _locate_box(box: Box, page: PageReading) -> dict[str, float]:
    left, top, right, bottom = box
    return {
        "x": round(left / page.width, 5),
        "y": round(top / page.height, 5),
        "width": round((right - left) / page.width, 5),
        "height": round((bottom - top) / page.height, 5),
    }


def place_characters(line: TextLine, text: str) -> list[tuple[str, Corners]]:
    """The characters of a line, each with its share of the polygon: readers look up what lies under a pointer."""
    top_left, top_right, bottom_right, bottom_left = line.polygon
    near = (top_left, top_right) if line.vertical else (top_left, bottom_left)
    far = (bottom_left, bottom_right) if line.vertical else (top_right, bottom_right)

    def at(side: int, share: float) -> tuple[float, float]:
        (x, y), (far_x, far_y) = near[side], far[side]
        return x + share * (far_x - x), y + share * (far_y - y)

    characters: list[tuple[str, Corners]] = []
    for number, character in enumerate(text):
        start, end = number / len(text), (number + 1) / len(text)
        corners: Corners
        if line.vertical:
            corners = (at(0, start), at(1, start), at(1, end), at(0, end))
        else:
            corners = (at(0, start), at(0, end), at(1, end), at(1, start))
        characters.append((character, corners))
    return characters


def _as_oneocr_place(corners: Corners) -> dict[str, float]:
    return number_corners(corners, first=1, digits=1)


def _as_winrt_place(corners: Corners) -> dict[str, float]:
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    right, bottom = max(x for x, _ in corners), max(y for _, y in corners)
    return {"x": round(left, 1), "y": round(top, 1), "width": round(right - left, 1), "height": round(bottom - top, 1)}
