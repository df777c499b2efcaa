"""Decodes pictures in processes of their own: a file that hangs or crashes its decoder costs that file only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ...admission.places import RETRY_AFTER_SECONDS, RETRY_WHEN_BUSY_SECONDS
from ...admission.turns import FairPlaces
from ...errors import (
    ImageTooComplex,
    InsufficientMemory,
    InternalError,
    InvalidImage,
    MachineBusy,
    QueueFull,
    VisionError,
)
from ...images.raw import RawImage
from ...metrics import Metrics
from ..processes import wire
from ..processes.process import EXIT_SECONDS, ChildProcess, Command

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
    """Of processor time for one file: the time on the clock says how busy the machine is."""
    patience: float = 30.0
    """Seconds on the clock, after which a process that does not come to an end is replaced."""


class Decoders:
    """A few decoder processes, started when they are needed.

    Args:
        image_limits: the fields of `images.decode.ImageLimits`.
        limits: how many, how long, how much.
        metrics: where crashes are counted.
    """

    def __init__(self, image_limits: Mapping[str, Any], limits: DecoderLimits, metrics: Metrics) -> None:
        argument = {"limits": image_limits, "seconds": limits.seconds}
        self._command = Command("decoder", "llm_vision.runtime.decoders.child", argument, _RETURN_MEMORY)
        self._limits = limits
        self._metrics = metrics
        self._idle: list[ChildProcess] = []
        most_of_one = max(1, limits.processes - 1)  # costly pictures of one client leave the others a process
        self._places = FairPlaces(limits.processes, most_of_one)
        self._one_large = FairPlaces(1)  # two large pictures at the same time could take all memory
        self._held_bytes = 0

    async def warm_up(self) -> None:
        """Start one process before it is needed."""
        async with self._process(""):
            pass

    async def close(self) -> None:
        """End every process."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(process.close() for process in idle))

    @asynccontextmanager
    async def decoded(self, data: bytes | bytearray, client: str) -> AsyncIterator[RawImage]:
        """Decode a file; its pixels count against the budget until the context ends.

        Args:
            data: the file.
            client: who asks; clients take turns.

        Raises:
            UnsupportedImageFormat, ImageTooLarge, ImageBadDimensions, ImageTooSmall, InvalidImage: by its content.
            QueueFull: too many decoded pictures wait already.
            ImageTooComplex: it takes too much processor time.
            MachineBusy: the machine has none for it.
            InsufficientMemory: the system ended the process.
        """
        file = _File(data, client)
        try:
            started = time.perf_counter()
            picture = await self._decode_once_more_when_killed(file)
            self._metrics.observe_stage("decode", "", time.perf_counter() - started)
            yield picture
        finally:
            self._release(file)

    async def _decode_once_more_when_killed(self, file: _File) -> RawImage:
        """Decode; a process that was killed from outside, perhaps while it was idle, says nothing about the file."""
        for _ in range(self._limits.processes + 1):  # those that died while they were idle, and a new one
            self._release(file)
            with contextlib.suppress(_DecoderKilled):
                return await self._decode_alone_when_large(file)
        raise InsufficientMemory(
            "the operating system keeps killing the image decoders", retry_after=RETRY_AFTER_SECONDS
        )

    async def _decode_alone_when_large(self, file: _File) -> RawImage:
        try:
            return await self._decode(file)
        except _LargeMustWait:  # outside, so that it keeps no process from small ones
            async with self._one_large.place(file.client):
                return await self._decode(file, is_the_one_large=True)

    async def _decode(self, file: _File, *, is_the_one_large: bool = False) -> RawImage:
        async with self._process(file.client) as process:
            file.held_bytes = self._hold(_SMALL_BYTES)
            process.send({"type": "decode", "unasked": file.held_bytes}, [file.data])
            header, pixels = await self._answer(process)
            if header["type"] == "measured":
                self._release(file)
                file.held_bytes = self._hold(int(header["width"]) * int(header["height"]) * 3)
                header, pixels = await self._decode_measured(process, file, is_the_one_large=is_the_one_large)
            return RawImage(header["width"], header["height"], pixels)

    def _release(self, file: _File) -> None:
        self._held_bytes -= file.held_bytes
        file.held_bytes = 0

    def _hold(self, size: int) -> int:
        """Count a picture against the budget; 0 when there is no room for it beside others."""
        if self._held_bytes and self._held_bytes + size > self._limits.budget_bytes:
            return 0
        self._held_bytes += size
        return size

    async def _decode_measured(
        self, process: ChildProcess, file: _File, *, is_the_one_large: bool
    ) -> tuple[wire.Header, bytearray]:
        """Let a process go on with a picture, or drop it when there is no room or another large one is decoded."""
        if not file.held_bytes:
            process.send({"type": "skip"})
            raise QueueFull("too many images are waiting to be decoded", retry_after=RETRY_AFTER_SECONDS)
        needs_place = file.held_bytes > _LARGE_BYTES and not is_the_one_large
        if needs_place and self._one_large.locked():
            self._release(file)
            process.send({"type": "skip"})
            raise _LargeMustWait
        async with self._one_large.place(file.client) if needs_place else contextlib.nullcontext():
            process.send({"type": "go"})
            return await self._answer(process)

    async def _answer(self, process: ChildProcess) -> tuple[wire.Header, bytearray]:
        try:
            async with asyncio.timeout(self._limits.patience):
                header, payload = await process.receive()
        except (TimeoutError, wire.PeerClosed, wire.BadFrame, OSError) as error:
            raise _DecoderLost from error
        if header["type"] == "refused":
            raise VisionError.with_code(header["code"], header["detail"], param="file")
        return header, payload

    @asynccontextmanager
    async def _process(self, client: str) -> AsyncIterator[ChildProcess]:
        """A decoder process for one file; it is replaced unless the file's exchange came to its end."""
        async with self._places.place(client):
            process = await self._take_idle() or await self._start()
            try:
                yield process
            except (VisionError, _LargeMustWait):
                self._idle.append(process)
                raise
            except _DecoderLost as lost:
                raise await self._cause_of_loss(process, is_late=isinstance(lost.__cause__, TimeoutError)) from None
            except BaseException:  # the client left in the middle
                await self._end(process)
                raise
            self._idle.append(process)

    async def _cause_of_loss(self, process: ChildProcess, *, is_late: bool) -> Exception:
        """End what is left of a process, and say why it was lost."""
        self._metrics.count_lost_decoder()
        status = await self._end(process) if is_late else await process.close(EXIT_SECONDS)
        log.error("a decoder process was lost", extra={"status": status})
        if is_late:
            return MachineBusy("the machine has no time to decode the picture", retry_after=RETRY_WHEN_BUSY_SECONDS)
        if status == -signal.SIGPROF:
            detail = f"the picture takes more than {self._limits.seconds:g} s of processor time to decode"
            return ImageTooComplex(detail, param="file")
        if status == -signal.SIGKILL:
            return _DecoderKilled()
        return InvalidImage("the picture cannot be decoded", param="file")

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
            log.exception("the operating system could not start a decoder process")
            raise InsufficientMemory(
                "the operating system could not start a process; it may be out of resources"
            ) from None
        try:
            async with asyncio.timeout(_START_SECONDS):
                await process.receive()
        except (TimeoutError, wire.PeerClosed, OSError) as error:
            is_late = isinstance(error, TimeoutError)
            status = await self._end(process) if is_late else await process.close(EXIT_SECONDS)
            log.error("a decoder process did not start", extra={"status": status})
            if is_late:
                detail = "the machine has no time to start a process"
                raise MachineBusy(detail, retry_after=RETRY_WHEN_BUSY_SECONDS) from None
            if status == -signal.SIGKILL:
                raise _DecoderKilled from None
            raise InternalError("the decoder process does not start; see the log") from None
        except BaseException:
            await self._end(process)
            raise
        return process

    @staticmethod
    async def _end(process: ChildProcess) -> int:
        process.kill()
        return await process.close()


class _DecoderLost(Exception):
    """The process died, or took too long."""


class _DecoderKilled(Exception):
    """The process was killed from outside; when memory runs out the system does that."""


class _LargeMustWait(Exception):
    """Another large picture is being decoded."""


@dataclass
class _File:
    """A file that is decoded."""

    data: bytes | bytearray
    client: str
    held_bytes: int = 0
    """What it counts against the budget now."""
