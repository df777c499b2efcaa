"""The shapes of manga tools that can call an OCR server: ImageTrans, Mangatan, owocr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from ...http.bodies.body import read_body
from ...http.limits import too_large
from ...http.openapi import PICTURE_CODES, URL_CODES, error_responses
from ...manga.lines import Box, TextLine
from ...manga.page import ReadBlock
from ...services.reading.crops import OcrWish
from ...services.reading.pages import PageReading
from ..ocr.bodies import Furigana, OcrForm
from ..ocr.reading import read_crop, read_page
from ..shared.dependencies import Services, ServicesDep
from ..shared.uploads import FOREIGN_FIELD, Upload, picture_body, read_upload

router = APIRouter(tags=["Manga tools"])

EMBEDDED = "rapidocr"
"""Who reads for owocr, which waits 3 seconds: MangaOCR may have to be loaded first."""
_PADDLE_LANGUAGES = {"japan": "ja", "ch": "zh", "chinese_cht": "zh", "korean": "ko", "rs_latin": "sr"}
"""PaddleOCR's names of languages, where they are not the usual codes."""
_ANSWERS = error_responses(*PICTURE_CODES, "unsupported_language")


def is_imagetrans(upload: Upload[OcrForm]) -> bool:
    """Whether one of ImageTrans's plugins asks."""
    return upload.part == FOREIGN_FIELD


async def answer_imagetrans(upload: Upload[OcrForm], services: Services, client: str) -> Response:
    """What a plugin of ImageTrans expects: the mangaOCR one plain text, the paddleOCR one lines with their corners."""
    language = upload.texts.get("lang")
    if language is None:
        wish = OcrWish(None, upload.fields.language, upload.fields.furigana)
        return PlainTextResponse((await read_crop(upload.picture, services, client, wish)).text)
    page = await read_page(upload.picture, services, client, OcrWish(None, _code_of(language), Furigana.STRIP))
    return JSONResponse({"text_lines": [_paddle_line(line, text) for line, text in lines_of(page.blocks)]})


@router.post("/detect", responses=_ANSWERS, openapi_extra=picture_body(OcrForm), summary="Find lines (ImageTrans)")
async def detect(request: Request, services: ServicesDep) -> dict[str, Any]:
    """The corners of all lines, in reading order, with empty texts."""
    upload = await read_upload(request, OcrForm, services.max_file_bytes)
    wish = OcrWish(EMBEDDED, _code_of(upload.texts.get("lang", "")), Furigana.STRIP)
    page = await read_page(upload.picture, services, request.state.client, wish)
    return {"text_lines": [_paddle_line(line, "") for line, _ in lines_of(page.blocks)]}


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
    wish = OcrWish(EMBEDDED, _code_of(language or ""), Furigana.STRIP)
    page = await read_page(data, services, request.state.client, wish)
    place = _oneocr_place if language is None else _winrt_place
    return {
        "text": page.text,
        "lines": [
            {
                "text": text,
                "bounding_rect": place(line.polygon),
                "words": [
                    {"text": character, "bounding_rect": place(corners)}
                    for character, corners in characters_of(line, text)
                ],
            }
            for line, text in lines_of(page.blocks)
        ],
    }


@router.get(
    "/ocr",
    responses=error_responses(*PICTURE_CODES, *URL_CODES),
    summary="Read a page by its URL (Mangatan)",
)
async def mangatan(
    request: Request, services: ServicesDep, url: Annotated[str, Query(description="The page's address")] = ""
) -> list[dict[str, Any]]:
    """Every block with its place in shares of the picture, in reading order. Off until `VISION_URL_HOSTS` is set."""
    data = await services.url_pictures.fetch(url, request.state.client)
    page = await read_page(data, services, request.state.client, OcrWish(None, "ja", Furigana.STRIP))
    return [{"text": found.text, "tightBoundingBox": _share(found.block.box, page)} for found in page.blocks]


def _share(box: Box, page: PageReading) -> dict[str, float]:
    left, top, right, bottom = box
    return {
        "x": round(left / page.width, 5),
        "y": round(top / page.height, 5),
        "width": round((right - left) / page.width, 5),
        "height": round((bottom - top) / page.height, 5),
    }


def lines_of(blocks: Sequence[ReadBlock]) -> list[tuple[TextLine, str]]:
    """All lines in reading order, each with its text."""
    return [pair for found in blocks for pair in zip(found.block.lines, found.line_texts, strict=True)]


def _code_of(language: str) -> str:
    """A language code as ours spell it: PaddleOCR's names, and Japanese where nothing is said."""
    return _PADDLE_LANGUAGES.get(language, language) or "ja"


Corners = tuple[tuple[float, float], ...]


def characters_of(line: TextLine, text: str) -> list[tuple[str, Corners]]:
    """The characters of a line, each with its share of the polygon: how readers tell what lies under a pointer."""
    top_left, top_right, bottom_right, bottom_left = line.polygon
    near = (top_left, top_right) if line.vertical else (top_left, bottom_left)
    far = (bottom_left, bottom_right) if line.vertical else (top_right, bottom_right)

    def at(side: int, share: float) -> tuple[float, float]:
        (x, y), (far_x, far_y) = near[side], far[side]
        return x + share * (far_x - x), y + share * (far_y - y)

    found: list[tuple[str, Corners]] = []
    for number, character in enumerate(text):
        start, end = number / len(text), (number + 1) / len(text)
        corners: Corners
        if line.vertical:
            corners = (at(0, start), at(1, start), at(1, end), at(0, end))
        else:
            corners = (at(0, start), at(0, end), at(1, end), at(1, start))
        found.append((character, corners))
    return found


def _paddle_line(line: TextLine, text: str) -> dict[str, object]:
    return {**_numbered(line.polygon, first=0, digits=None), "text": text}


def _oneocr_place(corners: Corners) -> dict[str, float]:
    return _numbered(corners, first=1, digits=1)


def _numbered(corners: Corners, *, first: int, digits: int | None) -> dict[str, float]:
    """Corners as x0, y0, x1 and so on, counted from `first`."""
    found: dict[str, float] = {}
    for number, (x, y) in enumerate(corners, first):
        found |= {f"x{number}": round(x, digits), f"y{number}": round(y, digits)}
    return found


def _winrt_place(corners: Corners) -> dict[str, float]:
    left, top = min(x for x, _ in corners), min(y for _, y in corners)
    right, bottom = max(x for x, _ in corners), max(y for _, y in corners)
    return {"x": round(left, 1), "y": round(top, 1), "width": round(right - left, 1), "height": round(bottom - top, 1)}
