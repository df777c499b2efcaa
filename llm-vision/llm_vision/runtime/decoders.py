"""Decodes pictures in processes of their own: a file that hangs or crashes its decoder costs that file only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from ..errors import InsufficientMemory, InternalError, InvalidImage, QueueFull, VisionError
from ..images.raw import RawImage
from ..metrics import Metrics
from . import wire
from .process import ChildProcess, Command

log = logging.getLogger(__name__)

_LARGE_BYTES = 32 * 1024 * 1024  # pixels of about 11 megapixels
_SMALL_BYTES = 3 * 1024 * 1024  # held before the size is known: a crop costs no question
_START_SECONDS = 30.0
_RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # glibc would keep what a large picture took


@dataclass(frozen=True)
class DecoderLimits:
    """How many decode at the same time, how long one may take, and how many bytes of pixels may wait."""

    processes: int
    budget_bytes: int
    seconds: float = 5.0


class Decoders:
    """A few decoder processes, started when they are needed.

    Args:
        image_limits: the fields of `images.decode.ImageLimits`.
        limits: how many, how long, how much.
        metrics: where crashes are counted.
    """

    def __init__(self, image_limits: Mapping[str, Any], limits: DecoderLimits, metrics: Metrics) -> None:
        self._command = Command("decoder", "llm_vision.runtime.decoder_child", image_limits, _RETURN_MEMORY)
        self._limits = limits
        self._metrics = metrics
        self._idle: list[ChildProcess] = []
        self._places = asyncio.Semaphore(limits.processes)
        self._one_large = asyncio.Lock()  # two large pictures at the same time could take all memory
        self._held_bytes = 0

    async def warm_up(self) -> None:
        """Start one process before it is needed."""
        async with self._process():
            pass

    async def close(self) -> None:
        """End every process."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(process.close() for process in idle))

    @asynccontextmanager
    async def decoded(self, data: bytes) -> AsyncIterator[RawImage]:
        """Decode a file; its pixels count against the budget until the context ends.

        Raises:
            UnsupportedImageFormat, ImageTooLarge, ImageBadDimensions, ImageTooSmall, InvalidImage: by its content.
            QueueFull: too many decoded pictures wait already.
        """
        hold = _Hold()
        try:
            try:
                picture = await self._decode(data, hold, large_lock=None)
            except _LargeMustWait:  # outside, so that it keeps no process from small ones
                async with self._one_large:
                    picture = await self._decode(data, hold, large_lock=self._one_large)
            yield picture
        finally:
            self._held_bytes -= hold.bytes

    async def _decode(self, data: bytes, hold: _Hold, large_lock: asyncio.Lock | None) -> RawImage:
        async with self._process() as process:
            hold.bytes = self._hold(_SMALL_BYTES)
            process.send({"type": "decode", "unasked": hold.bytes}, [data])
            header, pixels = await self._answer(process)
            if header["type"] == "measured":
                self._held_bytes -= hold.bytes
                hold.bytes = self._hold(int(header["width"]) * int(header["height"]) * 3)
                header, pixels = await self._decode_measured(process, hold, large_lock)
            return RawImage(header["width"], header["height"], pixels)

    def _hold(self, size: int) -> int:
        """Count a picture against the budget; 0 when there is no room for it beside others."""
        if self._held_bytes and self._held_bytes + size > self._limits.budget_bytes:
            return 0
        self._held_bytes += size
        return size

    async def _decode_measured(
        self, process: ChildProcess, hold: _Hold, large_lock: asyncio.Lock | None
    ) -> tuple[wire.Header, bytearray]:
        """Let a process go on with a picture, or drop it when there is no room or another large one is decoded."""
        if not hold.bytes:
            process.send({"type": "skip"})
            raise QueueFull("too many pictures wait")
        needs_lock = hold.bytes > _LARGE_BYTES and large_lock is None
        if needs_lock and self._one_large.locked():
            self._held_bytes -= hold.bytes
            hold.bytes = 0
            process.send({"type": "skip"})
            raise _LargeMustWait
        async with self._one_large if needs_lock else contextlib.nullcontext():
            process.send({"type": "go"})
            return await self._answer(process)

    async def _answer(self, process: ChildProcess) -> tuple[wire.Header, bytearray]:
        try:
            async with asyncio.timeout(self._limits.seconds):
                header, payload = await process.receive()
        except (TimeoutError, wire.PeerClosed, wire.BadFrame, OSError) as error:
            raise _DecoderLost from error
        if header["type"] == "refused":
            raise VisionError.with_code(header["code"], header["detail"], param="file")
        return header, payload

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[ChildProcess]:
        """A decoder process for one file; it is replaced unless the file's exchange came to its end."""
        async with self._places:
            process = await self._take_idle() or await self._start()
            try:
                yield process
            except (VisionError, _LargeMustWait):
                self._idle.append(process)
                raise
            except _DecoderLost:
                self._metrics.decoder_lost()
                status = await self._end(process)
                log.error("a decoder process was lost", extra={"status": status})
                limit = f"the picture cannot be decoded within {self._limits.seconds:g} s"
                raise InvalidImage(limit, param="file") from None
            except BaseException:  # the client left in the middle
                await self._end(process)
                raise
            self._idle.append(process)

    async def _take_idle(self) -> ChildProcess | None:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            await self._end(process)
        return None

    async def _start(self) -> ChildProcess:
        try:
            process = await ChildProcess.spawn(self._command)
        except OSError:
            log.exception("the system refused to start a decoder process")
            raise InsufficientMemory("the system refuses to start a process; it may be out of resources") from None
        try:
            async with asyncio.timeout(_START_SECONDS):
                await process.receive()
        except (TimeoutError, wire.PeerClosed, OSError):
            log.error("a decoder process did not start", extra={"status": await self._end(process)})
            raise InternalError("the decoder process does not start; the log has it") from None
        except BaseException:
            await self._end(process)
            raise
        return process

    @staticmethod
    async def _end(process: ChildProcess) -> int:
        """Kill a process; nobody who leaves can leave it half ended."""
        process.kill()
        ending = asyncio.create_task(process.close(), context=Context())
        return await asyncio.shield(ending)


class _DecoderLost(Exception):
    """The process died, or took too long."""


class _LargeMustWait(Exception):
    """Another large picture is being decoded."""


@dataclass
class _Hold:
    """What one picture counts against the budget now."""

    bytes: int = 0
