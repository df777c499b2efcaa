"""The requests of a busy day, good and bad ones, on all routes that take pictures or talk; and clients that leave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random

from fixtures.bad_pictures import ROWS
from fixtures.chat_requests import CHAT_ROUTES, JSON, OLLAMA, PATIENCE, TALKER, chat_body, chat_request, orders
from fixtures.drawing import draw_bubble
from fixtures.encoding import saved
from fixtures.live import picture_bytes
from fixtures.multipart import CONTENT_TYPE, field, form, part
from fixtures.raw_http import chunks_of, read_from, request
from fixtures.requests import ocr_request, picture_request

GENERATE = "/api/generate"
LONG = 2000
"""Words of an answer that nobody waits for to its end."""


def requests() -> list[bytes]:
    """Good and bad requests in their mixture."""
    bubble = saved(draw_bubble(["この道を", "まっすぐ行けば"], 34)[0], "PNG")
    encoded = {"image": base64.b64encode(bubble).decode(), "engine": "echo"}
    good = [picture_request(bubble), picture_request(bubble, "/analyze_image"), picture_request(bubble, engine="echo")]
    bad = [data for row in (48, 51, 52, 53, 54, 57, 58) for data in ROWS[row][1].values() if len(data) < 50_000]
    return [
        *good * 12,
        *(ocr_request(mark=number) for number in range(12)),
        *(picture_request(data, engine="echo") for data in bad),
        *talks() * 3,
        *pages(bubble) * 2,
        request("/ocr", json.dumps(encoded).encode(), headers=JSON),
        request("/ocr", b"{", headers=JSON),
        request("/ocr?url=https://vision.example/a.png", method="GET"),
        request("/models", method="GET"),
        request("/metrics", method="GET"),
        request("/nothing", method="GET"),
        request("/livez?" + "a" * 9000, method="GET"),
        request("/ocr", headers={"Content-Length": "99000000000", "Content-Type": "image/png"}),
    ]


def talks() -> list[bytes]:
    """Conversations, whole and streamed, with and without pictures; some that are refused."""
    generate = {"model": TALKER, "prompt": "Count to five."}
    return [
        *(chat_request(route, orders(route, 5, stream=stream)) for route in CHAT_ROUTES for stream in (False, True)),
        *(chat_request(route, chat_body(route, "Look.", pictures=[picture_bytes()] * 2)) for route in CHAT_ROUTES),
        *(chat_request(GENERATE, {**generate, "stream": stream}) for stream in (False, True)),
        *(chat_request(route, chat_body(route, " ")) for route in CHAT_ROUTES),
        chat_request(OLLAMA, chat_body(OLLAMA, "Look.", pictures=[b"no picture"])),
    ]


def pages(page: bytes) -> list[bytes]:
    """A page on every route that reads such, and a batch of crops of which one is bad."""
    crops = [
        part(data, 'form-data; name="files"; filename="a.png"') for data in (picture_bytes(), picture_bytes(), b"x")
    ]
    return [
        picture_request(page, "/ocr/page"),
        picture_request(page, "/detect"),
        request("/", page, headers={"Content-Type": "application/octet-stream"}),
        request("/ocr/batch", form(*crops, field("engine", b"echo")), headers={"Content-Type": CONTENT_TYPE}),
    ]


async def status_of(port: int, data: bytes) -> int:
    """Send a request on a connection of its own, and read the whole answer; 0 when it ends without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        async with asyncio.timeout(PATIENCE):
            return (await read_from(reader)).status
    except (OSError, EOFError, ValueError):
        return 0
    finally:
        writer.close()


async def break_off(port: int, data: bytes, chance: random.Random) -> None:
    """Leave in the middle of a request, or soon behind it."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data[: chance.randrange(1, len(data))])
        await asyncio.sleep(0.05 * chance.random())
        writer.close()


async def leave_stream(port: int, chance: random.Random) -> None:
    """Leave in the middle of a streamed answer."""
    route = chance.choice(CHAT_ROUTES)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(chat_request(route, orders(route, LONG, stream=True, pause=0.01)))
    with contextlib.suppress(OSError, EOFError, ValueError, StopAsyncIteration):
        await reader.readuntil(b"\r\n\r\n")
        chunks = chunks_of(reader)
        for _ in range(chance.randrange(1, 6)):
            await anext(chunks)
    writer.close()
