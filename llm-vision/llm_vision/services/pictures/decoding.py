"""Files to pictures: decoded outside this process, timed, held within a budget."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...images.raw import RawImage
from ...metrics import Metrics
from ...runtime.decoders.decoders import Decoders


class PictureDecoder:
    """Turns files into RGB pictures within limits."""

    def __init__(self, decoders: Decoders, metrics: Metrics) -> None:
        self._decoders = decoders
        self._metrics = metrics

    @asynccontextmanager
    async def decoded(self, data: bytes | bytearray, client: str) -> AsyncIterator[RawImage]:
        """An upright RGB picture, for as long as the context lasts.

        Args:
            data: a picture file.
            client: who asks; clients take turns.

        Raises:
            UnsupportedImageFormat, ImageTooLarge, ImageBadDimensions, ImageTooSmall, InvalidImage: by the file.
            QueueFull: too many decoded pictures wait.
            InsufficientMemory: the system ended the process that decodes.
        """
        started = time.perf_counter()
        async with self._decoders.decoded(data, client) as picture:
            self._metrics.stage_ended("decode", "", time.perf_counter() - started)
            yield picture
