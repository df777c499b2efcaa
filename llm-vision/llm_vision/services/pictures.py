"""Decodes pictures in threads, so that the event loop goes on answering."""

from __future__ import annotations

import asyncio
import time

from PIL import Image

from ..images.decode import ImageLimits, decode
from ..metrics import Metrics


class PictureDecoder:
    """Turns files into RGB pictures within limits."""

    def __init__(self, limits: ImageLimits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics

    async def decode(self, data: bytes) -> Image.Image:
        """An upright RGB picture.

        Raises:
            UnsupportedImageFormat, ImageTooLarge, ImageBadDimensions, ImageTooSmall, InvalidImage.
        """
        started = time.perf_counter()
        picture = await asyncio.to_thread(decode, data, self._limits)
        self._metrics.stage_ended("decode", "", time.perf_counter() - started)
        return picture
