"""The process of one model: what it is told at its start, and waiting until its model is ready."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ...errors import InferenceFailed, InsufficientMemory, ModelLoadFailed, VisionError, WorkerCrashed
from ..placement.placements import Placement
from ..processes.process import EXIT_SECONDS, ChildProcess, Command
from ..processes.wire import Header
from ..weights.failures import RETRY_LOAD

_KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Launch:
    """What a worker process is told at its start."""

    model_id: str
    class_path: str
    threads: int
    weights_root: Path | None = None
    may_repair: bool = False
    """Whether a damaged file of downloaded weights is removed, to be downloaded again."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)

    def command(self, placement: Placement) -> Command:
        """How to start it in a placement."""
        argument = {
            "model_id": self.model_id,
            "class_path": self.class_path,
            "device": placement.device,
            "quantization": placement.quantization,
            "threads": self.threads,
            "limit_bytes": placement.limit_bytes,
            "weights_root": str(self.weights_root) if self.weights_root else None,
            "may_repair": self.may_repair,
            "options": self.options,
        }
        return Command(self.model_id, "llm_vision.runtime.child.main", argument, self.environment)


class DeviceUnusable(ModelLoadFailed):
    """The model did not load, and its device may be to blame."""


class WorkerProcess(ChildProcess):
    """A process with a model in it."""

    @classmethod
    async def start(cls, launch: Launch, placement: Placement, seconds: float) -> Self:
        """Spawn a process and wait until its model is ready.

        Raises:
            ModelLoadFailed: the model did not load within `seconds`, or not at all.
            DeviceUnusable: it did not load on a GPU.
            InsufficientMemory: it ran out of memory while it loaded.
        """
        try:
            process = await cls.spawn(launch.command(placement))
        except OSError as error:
            raise ModelLoadFailed("the operating system could not start a process", retry_after=RETRY_LOAD) from error
        try:
            async with asyncio.timeout(seconds):
                await process._wait_until_ready(launch, placement)
        except TimeoutError:
            await process.close()
            raise ModelLoadFailed("loading took too long", retry_after=RETRY_LOAD) from None
        except BaseException:
            await process.close()
            raise
        return process

    async def _wait_until_ready(self, launch: Launch, placement: Placement) -> None:
        async for message in self.messages():
            if message["type"] == "ready":
                return
            code, reason = message["code"], message["reason"]
            raise _load_error(launch, placement, code, reason, is_weights=message["is_weights"])
        if await self.close(EXIT_SECONDS) == _KILLED:
            raise InsufficientMemory(
                "the operating system killed the process while the model was loading", retry_after=RETRY_LOAD
            )
        reason = "its process ended"
        if placement.limit_bytes:
            reason += f"; it may take {placement.limit_bytes >> 20} MiB"
        raise _load_error(launch, placement, ModelLoadFailed.code, reason, is_weights=False)


def _load_error(launch: Launch, placement: Placement, code: str, reason: str, *, is_weights: bool) -> VisionError:
    detail = f"{launch.model_id} did not load ({reason})"
    if code == ModelLoadFailed.code and placement.device != "cpu" and not is_weights:
        return DeviceUnusable(detail, retry_after=RETRY_LOAD)
    error = VisionError.with_code(code, detail)
    error.retry_after = RETRY_LOAD
    return error


def read_error(message: Header) -> VisionError:
    """What a process says of a request that failed, as an error."""
    detail = message.get("detail") or _failure_text(message)
    return VisionError.with_code(
        message["error"], detail, param=message.get("param"), retry_after=message.get("retry_after")
    )


def _failure_text(message: Header) -> str:
    if message["error"] == WorkerCrashed.code:
        return "the device failed; the model's process starts again"
    if message["error"] == InferenceFailed.code:
        return f"the model failed on this request ({message['exception']})"
    return "the model ran out of memory on this request"
