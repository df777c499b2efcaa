"""What the routes that read text share: a request is admitted, then its picture decoded, then read."""

from __future__ import annotations

from collections.abc import Sequence

from ...manga.lines import TextLine
from ...manga.page import ReadBlock
from ...services.reading.crops import OcrWish, Reading
from ...services.reading.pages import PageReading, PageWish
from ..shared.dependencies import Services
from ..shared.fallback import Fallback
from .bodies import OcrForm

Picture = bytes | bytearray

EMBEDDED = "rapidocr"
"""Who reads for owocr, which waits 3 seconds: MangaOCR may have to be loaded first."""


def wish_of(form: OcrForm) -> OcrWish:
    """What a form asks for."""
    return OcrWish(form.engine, form.language, form.furigana, may_fall_back=form.fallback is Fallback.AUTO)


async def read_crop(data: Picture, services: Services, client: str, wish: OcrWish) -> Reading:
    """What a picture file says, read as a crop.

    Raises:
        VisionError: it cannot be read.
    """
    async with services.ocr.admit(wish, client) as reader, services.pictures.decoded(data, client) as picture:
        return await reader.read(picture)


async def read_page(data: Picture, services: Services, client: str, wish: OcrWish) -> PageReading:
    """What a picture file says, read as a page.

    Raises:
        VisionError: it cannot be read.
    """
    async with (
        services.pages.admit(PageWish(wish, "auto"), client) as reader,
        services.pictures.decoded(data, client) as picture,
    ):
        return await reader.read(picture)


def lines_of(blocks: Sequence[ReadBlock]) -> list[tuple[TextLine, str]]:
    """All lines in reading order, each with its text."""
    return [pair for found in blocks for pair in zip(found.block.lines, found.line_texts, strict=True)]
