"""A request's body in memory, and large bodies parsed where they keep nobody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

from ...admission.turns import FairPlaces

_LARGE_BYTES = 64 * 1024

Parsed = TypeVar("Parsed")


async def read_body(request: Request) -> bytearray:
    """All of it; unlike with `Request.body`, nothing else holds it then.

    Raises:
        VisionError: it is too large, too late or cut off.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
    return body


async def parse_body(request: Request, parser: Callable[[bytearray], Parsed]) -> Parsed:
    """What the parser makes of the body.

    Large bodies are parsed in a thread, one after the other (`app.state.large_bodies`): on the way they take several
    times their bytes.

    Raises:
        VisionError: what is wrong with the body, by its code.
    """
    body = await read_body(request)
    if len(body) <= _LARGE_BYTES:
        return parser(body)
    large_bodies: FairPlaces = request.app.state.large_bodies
    async with large_bodies.place(request.state.client):
        return await asyncio.to_thread(parser, body)
