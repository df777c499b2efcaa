"""What became of a request in a worker process, as the gateway is told."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable

from ...errors import VisionError
from ...errors.memory import is_out_of_memory
from ...models.base import JsonObject
from ..processes import wire
from ..processes.wire import DEVICE_LOST
from .connection import Connection, WorkItem


def as_failure(error: BaseException) -> Exception:
    """What a request fails with; a library in Rust that panics takes no process with it.

    Raises:
        BaseException: the process is to end.
    """
    if isinstance(error, Exception):
        return error
    if type(error).__name__ == "PanicException":
        return RuntimeError("a library panicked")
    raise error


def is_device_lost(error: BaseException) -> bool:
    """Whether a GPU's context is broken: nothing that this process computes on it is right any more."""
    return type(error).__name__ == "AcceleratorError"


def free_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def code_of(error: Exception) -> str:
    if is_device_lost(error):
        return "worker_crashed"
    return "insufficient_memory" if is_out_of_memory(error) else "inference_failed"


def _end_message(item: WorkItem, result: JsonObject | Exception, seconds: float) -> wire.Header:
    if isinstance(result, VisionError):
        told = {"error": result.code, "detail": result.detail, "retry_after": result.retry_after}
        return {"type": "end", "id": item.item_id, **told, "param": result.param}
    if isinstance(result, Exception):
        return {"type": "end", "id": item.item_id, "error": code_of(result), "exception": type(result).__name__}
    return {"type": "end", "id": item.item_id, "result": result, "seconds": seconds}


def answer(connection: Connection, item: WorkItem, result: JsonObject | Exception, seconds: float) -> None:
    """Tell the gateway how a request has ended."""
    try:
        connection.send(_end_message(item, result, seconds))
    except (ValueError, TypeError, wire.BadFrame) as error:  # NaN, not JSON, or far too large
        connection.send(_end_message(item, error, seconds))


def end_if_device_is_lost(results: Iterable[JsonObject | Exception]) -> None:
    """End the process when a failure says that its device is of no use any more."""
    if any(isinstance(result, Exception) and is_device_lost(result) for result in results):
        sys.stderr.flush()
        os._exit(DEVICE_LOST)
