"""The pictures of a request: uploads, data URIs, base64 or addresses, decoded one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ...errors import ImageTooLarge, StreamNotFound, TooManyFiles, VisionError
from ...images.data_uri import decode_base64, decode_data_uri, is_data_uri
from ...images.raw import RawImage
from ...runtime.decoders.decoders import Decoders
from .fetching import UrlPictures

MOST_PIXELS = 50_000_000
"""Of all pictures of a request together."""


@dataclass(frozen=True)
class FileSource:
    """A picture file that came with the request."""

    data: bytes | bytearray


@dataclass(frozen=True)
class UrlSource:
    """A picture at an address."""

    url: str


@dataclass(frozen=True)
class PictureSource:
    """A picture as JSON names it."""

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


Source = FileSource | UrlSource | PictureSource | FrameSource


class Pictures:
    """Turns what clients send into RGB pictures.

    Args:
        decoders: decode files outside this process.
        url_pictures: fetches pictures by URL.
        max_pictures: of a request.
        max_file_bytes: of a picture.
    """

    def __init__(self, decoders: Decoders, url_pictures: UrlPictures, max_pictures: int, max_file_bytes: int) -> None:
        self._decoders = decoders
        self._url_pictures = url_pictures
        self._max_pictures = max_pictures
        self._max_file_bytes = max_file_bytes

    async def read(self, source: Source, client: str) -> bytes | bytearray:
        """The bytes of a picture file.

        Raises:
            VisionError: it cannot be fetched, or is no data URI or base64.
        """
        match source:
            case FileSource(data):
                return data
            case UrlSource(url):
                return await self._url_pictures.fetch(url, client)
            case FrameSource():
                raise StreamNotFound("there is no live stream with this id", param=source.param)
        if is_data_uri(source.text):
            return await asyncio.to_thread(decode_data_uri, source.text, self._max_file_bytes, source.param)
        if source.may_be_base64:
            return await asyncio.to_thread(decode_base64, source.text, self._max_file_bytes, source.param)
        try:
            return await self._url_pictures.fetch(source.text, client)
        except VisionError as error:
            error.param = source.param
            raise

    @asynccontextmanager
    async def decoded(self, source: Source, client: str) -> AsyncIterator[RawImage]:
        """An upright RGB picture, for as long as the context lasts.

        Args:
            source: where it comes from.
            client: who asks; clients take turns.

        Raises:
            UnsupportedImageFormat, ImageTooLarge, ImageBadDimensions, ImageTooSmall, InvalidImage: by the file.
            QueueFull, InsufficientMemory: there is no room to decode it.
            VisionError: it cannot be fetched, or is no data URI or base64.
        """
        async with self._decoders.decoded(await self.read(source, client), client) as picture:
            yield picture

    @asynccontextmanager
    async def all_decoded(self, sources: Sequence[Source], client: str) -> AsyncIterator[list[RawImage]]:
        """Several pictures, for as long as the context lasts.

        Raises:
            TooManyFiles, ImageTooLarge: there are too many, or they are too large together.
            VisionError: what is wrong with one of them; see `decoded`.
        """
        if len(sources) > self._max_pictures:
            raise TooManyFiles(f"{len(sources)} images; the limit is {self._max_pictures}", param="messages")
        async with AsyncExitStack() as held:
            pictures: list[RawImage] = []
            for source in sources:
                pictures.append(await held.enter_async_context(self.decoded(source, client)))
                pixels = sum(picture.width * picture.height for picture in pictures)
                if pixels > MOST_PIXELS:
                    raise ImageTooLarge(f"{pixels} pixels together; the limit is {MOST_PIXELS}", param="messages")
            yield pictures
