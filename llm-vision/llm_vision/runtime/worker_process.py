"""The process of one model: what it is told at its start, and waiting until its model is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..errors import ModelLoadFailed, VisionError
from .load_failures import RETRY_LOAD
from .process import ChildProcess, Command


@dataclass(frozen=True)
class Launch:
    """What a worker process is told at its start."""

    model_id: str
    class_path: str
    device: str
    threads: int
    weights_root: Path | None = None
    may_repair: bool = False
    """Whether a damaged file of downloaded weights is removed, to be downloaded again."""
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> Command:
        """How to start it."""
        argument = {
            "model_id": self.model_id,
            "class_path": self.class_path,
            "device": self.device,
            "threads": self.threads,
            "weights_root": str(self.weights_root) if self.weights_root else None,
            "may_repair": self.may_repair,
            "options": self.options,
        }
        return Command(self.model_id, "llm_vision.runtime.child", argument, self.environment)


class WorkerProcess(ChildProcess):
    """A process with a model in it."""

    @classmethod
    async def start(cls, launch: Launch, seconds: float) -> Self:
        """Spawn a process and wait until its model is ready.

        Raises:
            ModelLoadFailed: the model did not load within `seconds`, or not at all.
            InsufficientMemory: it ran out of memory while it loaded.
        """
        try:
            process = await cls.spawn(launch.command)
        except OSError as error:
            raise ModelLoadFailed("the system refused to start a process", retry_after=RETRY_LOAD) from error
        try:
            async with asyncio.timeout(seconds):
                await process._wait_until_ready(launch.model_id)
        except TimeoutError:
            await process.close()
            raise ModelLoadFailed("loading took longer than it may", retry_after=RETRY_LOAD) from None
        except BaseException:
            await process.close()
            raise
        return process

    async def _wait_until_ready(self, model_id: str) -> None:
        async for message in self.messages():
            if message["type"] == "ready":
                return
            detail = f"{model_id} did not load ({message['reason']})"
            error = VisionError.with_code(message["code"], detail)
            error.retry_after = RETRY_LOAD
            raise error
        raise ModelLoadFailed(f"the process of {model_id} ended while it loaded", retry_after=RETRY_LOAD)
