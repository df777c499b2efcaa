"""owocr's WebSocket, which meikipop and yomihon speak: a picture in, `True` at once, then what it says as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers

from ..errors import VisionError
from ..manga.lines import Point
from ..schemas.ocr import Furigana
from ..services.ocr import OcrWish
from ..services.pages import PageReading
from .access import AccessRules, check_host, check_key, check_origin
from .dependencies import Services
from .manga_clients import EMBEDDED, characters_of, lines_of
from .reading import read_page

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

log = logging.getLogger(__name__)

ACKNOWLEDGED = "True"
MOST_CONNECTIONS = 16
_TRY_AGAIN_LATER = 1013
_CAPABILITIES = {
    "words": True,
    "word_bounding_boxes": True,
    "lines": True,
    "line_bounding_boxes": True,
    "paragraphs": True,
    "paragraph_bounding_boxes": True,
}


@dataclass(frozen=True)
class SocketRules:
    """Where it listens, and who may come."""

    host: str
    port: int
    access: AccessRules
    max_bytes: int
    """Of a picture file."""


class OwocrSocket:
    """One connection after the other sends pictures; each is answered before the next one is taken.

    Args:
        services: who reads.
        rules: see there.
    """

    def __init__(self, services: Services, rules: SocketRules) -> None:
        self._services = services
        self._rules = rules
        self._connections = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen for as long as the context lasts.

        Raises:
            OSError: the port is taken.
        """
        from websockets.asyncio.server import serve  # noqa: PLC0415  (only who wants it pays for it)

        rules = self._rules
        async with serve(
            self._talk,
            rules.host,
            rules.port,
            process_request=self._check,
            compression=None,  # pictures are compressed already, and a bomb of zeros would not count
            max_size=rules.max_bytes,
            max_queue=1,
        ):
            log.info("owocr's WebSocket listens on port %d", rules.port)
            yield

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        """What the gate asks of every HTTP request, too."""
        headers = Headers(dict(request.headers.raw_items()))
        try:
            check_host(headers, self._rules.access)
            check_origin("POST", headers, self._rules.access)
            check_key("POST", "/", headers, self._rules.access)
        except VisionError as error:
            return connection.respond(HTTPStatus(error.status), f"{error.detail}\n")
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        if self._connections >= MOST_CONNECTIONS:
            await connection.close(_TRY_AGAIN_LATER, "too many connections")
            return
        self._connections += 1
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    await connection.send(ACKNOWLEDGED)
                    await connection.send(json.dumps(await self._answer(message, connection), ensure_ascii=False))
        finally:
            self._connections -= 1

    async def _answer(self, data: bytes, connection: ServerConnection) -> dict[str, Any]:
        client = str(connection.remote_address[0]) if connection.remote_address else "unknown"
        try:
            page = await read_page(data, self._services, client, OcrWish(EMBEDDED, "ja", Furigana.STRIP))
        except VisionError as error:
            self._services.metrics.error_answered(error.code)
            return {**_result(0, 0, []), "error": {"code": error.code, "message": error.detail}}
        return as_owocr(page)


def as_owocr(page: PageReading) -> dict[str, Any]:
    """A page as owocr's OcrResult: places in shares of the picture, one word a character."""
    paragraphs = []
    for found in page.blocks:
        lines = [
            {
                "bounding_box": _box(line.polygon, page),
                "text": text,
                "words": [
                    {"text": character, "bounding_box": _box(corners, page), "separator": ""}
                    for character, corners in characters_of(line, text)
                ],
            }
            for line, text in lines_of([found])
        ]
        left, top, right, bottom = found.block.box
        paragraphs.append(
            {
                "bounding_box": _box(((left, top), (right, bottom)), page),
                "lines": lines,
                "writing_direction": "TOP_TO_BOTTOM" if found.block.vertical else "LEFT_TO_RIGHT",
            }
        )
    return _result(page.width, page.height, paragraphs)


def _result(width: int, height: int, paragraphs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "image_properties": {"width": width, "height": height},
        "engine_capabilities": _CAPABILITIES,
        "paragraphs": paragraphs,
    }


def _box(corners: tuple[Point, ...], page: PageReading) -> dict[str, float]:
    xs, ys = [x / page.width for x, _ in corners], [y / page.height for _, y in corners]
    return {
        "center_x": round((min(xs) + max(xs)) / 2, 5),
        "center_y": round((min(ys) + max(ys)) / 2, 5),
        "width": round(max(xs) - min(xs), 5),
        "height": round(max(ys) - min(ys), 5),
        "rotation_z": 0.0,
    }
