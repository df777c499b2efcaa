"""What the routes that read text share: a request is admitted, then its picture decoded, then read."""

from __future__ import annotations

from collections.abc import Sequence

from ...manga.lines import TextLine
from ...manga.page import ReadBlock, ReadingOrder
from ...services.pictures.sources import FileSource
from ...services.reading.crops import OcrRequest, Reading
from ...services.reading.pages import PageReading, PageRequest
from ..shared.dependencies import Services
from ..shared.fallback import Fallback
from .bodies import OcrForm

PictureFile = bytes | bytearray

AUTO = "auto"
EMBEDDED = "rapidocr"
"""Who reads for owocr, which waits 3 seconds: MangaOCR may have to be loaded first."""

TRUNCATED_HEADER = "X-Truncated"


def make_ocr_request(form: OcrForm, *, may_manage: bool) -> OcrRequest:
    """What a form asks for, of a client that may or may not manage models."""
    return OcrRequest(
        None if form.engine == AUTO else form.engine,
        form.language,
        form.furigana,
        may_fall_back=form.fallback is Fallback.AUTO,
        may_download=may_manage,
    )


async def read_crop(data: PictureFile, services: Services, client: str, wanted: OcrRequest) -> Reading:
    """What a picture file says, read as a crop.

    Raises:
        VisionError: it cannot be read.
    """
    async with (
        services.ocr.admit(wanted, client) as reader,
        services.pictures.decoded(FileSource(data), client) as picture,
    ):
        return await reader.read(picture)


async def read_page(data: PictureFile, services: Services, client: str, wanted: OcrRequest) -> PageReading:
    """What a picture file says, read as a page.

    Raises:
        VisionError: it cannot be read.
    """
    async with (
        services.pages.admit(PageRequest(wanted, ReadingOrder.AUTO), client) as reader,
        services.pictures.decoded(FileSource(data), client) as picture,
    ):
        return await reader.read(picture)


def truncation_headers(reading: Reading | PageReading) -> dict[str, str]:
    """Say that lines are missing, in answers that have no other place for it."""
    return {TRUNCATED_HEADER: "true"} if reading.truncated else {}


def truncation_member(reading: Reading | PageReading) -> dict[str, bool]:
    """The same in JSON of another program's shape."""
    return {"truncated": True} if reading.truncated else {}


def list_lines(blocks: Sequence[ReadBlock]) -> list[tuple[TextLine, str]]:
    """All lines in reading order, each with its text."""
    return [pair for read in blocks for pair in zip(read.block.lines, read.line_texts, strict=True)]
