"""The pictures of a chat request: data URIs, base64 or addresses, decoded one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ...api.shared.dependencies import Services
from ...errors import ImageTooLarge, StreamNotFound, TooManyFiles, VisionError
from ...images.data_uri import decode_base64, decode_data_uri, is_data_uri
from ...images.raw import RawImage

MOST_PIXELS = 50_000_000
"""Of all pictures of a request together."""


@dataclass(frozen=True)
class PictureSource:
    """Where a picture comes from."""

    text: str
    """A data URI, an address, or base64."""
    param: str
    """Its place in the body."""
    may_be_base64: bool = False
    """Whether it is base64 where it is no data URI, rather than an address."""


@dataclass(frozen=True)
class FrameSource:
    """The newest frame of a live stream."""

    stream_id: str
    param: str
    """Its place in the body."""


Source = PictureSource | FrameSource


@asynccontextmanager
async def decoded(sources: Sequence[Source], services: Services, client: str) -> AsyncIterator[list[RawImage]]:
    """The pictures, for as long as the context lasts.

    Raises:
        TooManyFiles, ImageTooLarge: there are too many, or they are too large together.
        VisionError: what is wrong with one of them.
    """
    if len(sources) > services.max_pictures:
        raise TooManyFiles(f"{len(sources)} pictures; the limit is {services.max_pictures}", param="messages")
    async with AsyncExitStack() as held:
        found: list[RawImage] = []
        for source in sources:
            data = await _bytes_of(source, services, client)
            found.append(await held.enter_async_context(services.pictures.decoded(data, client)))
            pixels = sum(picture.width * picture.height for picture in found)
            if pixels > MOST_PIXELS:
                raise ImageTooLarge(f"{pixels} pixels together; the limit is {MOST_PIXELS}", param="messages")
        yield found


async def _bytes_of(source: Source, services: Services, client: str) -> bytearray:
    if isinstance(source, FrameSource):
        raise StreamNotFound("no live stream has this id", param=source.param)
    most = services.max_file_bytes
    if is_data_uri(source.text):
        return await asyncio.to_thread(decode_data_uri, source.text, most, source.param)
    if source.may_be_base64:
        return await asyncio.to_thread(decode_base64, source.text, most, source.param)
    try:
        return await services.url_pictures.fetch(source.text, client)
    except VisionError as error:
        error.param = source.param
        raise
