"""The worker process: one model, batches in, tokens and results out.

Started as `python -P -m llm_vision.runtime.child FD PARENT_PID LAUNCH_JSON`. The main thread runs the
model; a reader thread takes messages and ends the process when the gateway is gone. Standard output and
error are log pipes only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import VisionError
from ..models.base import Item, JsonObject, LoadContext, Model, Quantization, UnusableWeights
from . import wire
from .guard import guard_process
from .idle_memory import IDLE_SECONDS, give_back
from .ways import DEVICE_LOST
from .weight_check import proven

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Connection:
    """The socket to the gateway: a locked sender, an inbox and the ids that were cancelled."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._send_lock = threading.Lock()
        self.inbox: queue.SimpleQueue[tuple[wire.Header, bytearray]] = queue.SimpleQueue()
        self.cancelled: set[int] = set()

    def send(self, header: wire.Header) -> None:
        frame = wire.encode(header)
        with self._send_lock:
            self._sock.sendall(frame)

    def next_message(self) -> tuple[wire.Header, bytearray]:
        """Wait for the gateway; memory that is free goes back to the system when it lets us wait."""
        try:
            return self.inbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            give_back()
        return self.inbox.get()

    def read_forever(self) -> None:
        """Take messages until the gateway is gone, then end this process at once."""
        with contextlib.suppress(wire.PeerClosed, wire.BadFrame, OSError):
            while True:
                header, payload = wire.receive_blocking(self._sock)
                if header["type"] == "cancel":
                    self.cancelled.add(header["id"])
                else:
                    self.inbox.put((header, payload))
        os._exit(0)


class WorkItem(Item):
    """One request of a batch."""

    def __init__(self, connection: Connection, entry: JsonObject, images: tuple[NDArray[np.uint8], ...]) -> None:
        self._connection = connection
        self._ends_at = time.monotonic() + entry["seconds"]
        self.item_id: int = entry["id"]
        self.params = entry["params"]
        self.images = images

    @property
    def cancelled(self) -> bool:
        return self.item_id in self._connection.cancelled or time.monotonic() > self._ends_at

    def send_token(self, text: str) -> None:
        self._connection.send({"type": "token", "id": self.item_id, "text": text})


def items_of(connection: Connection, header: wire.Header, payload: bytearray) -> list[WorkItem]:
    """The items of a batch message, their pictures as read-only views of the payload."""
    import numpy as np  # noqa: PLC0415  (the gateway imports this package without numpy)

    items, offset = [], 0
    view = memoryview(payload).toreadonly()
    for entry in header["items"]:
        images = []
        for width, height in entry["sizes"]:
            end = offset + width * height * 3
            images.append(np.frombuffer(view[offset:end], np.uint8).reshape(height, width, 3))
            offset = end
        items.append(WorkItem(connection, entry, tuple(images)))
    return items


def _is_out_of_memory(error: BaseException) -> bool:
    """Torch's allocator for the CPU raises a plain RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "OutOfMemory"):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _is_device_lost(error: BaseException) -> bool:
    """Whether a GPU's context is broken: nothing that this process computes on it is right any more."""
    return type(error).__name__ == "AcceleratorError"


def _free_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def predict(model: Model, items: Sequence[WorkItem], *, is_retry: bool = False) -> list[JsonObject | Exception]:
    """One result or exception per item; never raises.

    A batch that runs out of memory is halved, down to single items, which have one more try each.
    """
    try:
        results = list(model.predict(items))
        if len(results) != len(items):
            raise ValueError(f"{len(results)} results for {len(items)} items")
        return results
    except Exception as error:
        failure = error
    if _is_out_of_memory(failure) and not is_retry:
        failure.__traceback__ = None  # its frames hold the tensors
        _free_memory()
        if len(items) == 1:
            return predict(model, items, is_retry=True)
        middle = len(items) // 2
        return predict(model, items[:middle]) + predict(model, items[middle:])
    traceback.print_exception(failure)
    return [failure] * len(items)


def _code_of(error: Exception) -> str:
    if _is_device_lost(error):
        return "worker_crashed"
    return "insufficient_memory" if _is_out_of_memory(error) else "inference_failed"


def _end_message(item: WorkItem, result: JsonObject | Exception, seconds: float) -> wire.Header:
    if isinstance(result, VisionError):
        told = {"error": result.code, "detail": result.detail, "retry_after": result.retry_after}
        return {"type": "end", "id": item.item_id, **told}
    if isinstance(result, Exception):
        return {"type": "end", "id": item.item_id, "error": _code_of(result), "exception": type(result).__name__}
    return {"type": "end", "id": item.item_id, "result": result, "seconds": seconds}


def run_batch(connection: Connection, model: Model, items: Sequence[WorkItem]) -> None:
    """Run what is still wanted and answer every item."""
    wanted = [item for item in items if not item.cancelled]
    started = time.perf_counter()
    results = predict(model, wanted) if wanted else []
    seconds = time.perf_counter() - started
    for item, result in zip(wanted, results, strict=True):
        try:
            connection.send(_end_message(item, result, seconds))
        except (ValueError, TypeError, wire.BadFrame) as error:  # NaN, not JSON, or far too large
            connection.send(_end_message(item, error, seconds))
    connection.send({"type": "batch_end", "seconds": seconds, "size": len(wanted)})
    connection.cancelled.difference_update(item.item_id for item in items)
    if any(isinstance(result, Exception) and _is_device_lost(result) for result in results):
        sys.stderr.flush()
        os._exit(DEVICE_LOST)


def load(launch: dict[str, Any]) -> Model:
    """Import the model's class and load it."""
    module_name, class_name = launch["class_path"].split(":")
    model_class = getattr(importlib.import_module(module_name), class_name)
    root = Path(launch["weights_root"]) if launch["weights_root"] else None
    model: Model = model_class()
    context = LoadContext(
        device=launch["device"],
        threads=launch["threads"],
        quantization=Quantization(launch["quantization"]),
        weights_root=root,
        model_id=launch["model_id"],
        options=launch["options"],
    )
    with proven(root, may_repair=launch["may_repair"]):
        model.load(context)
    return model


def main() -> None:
    """Load the model, then run batches until told to stop."""
    descriptor, parent_pid, launch = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    guard_process(parent_pid)
    connection = Connection(socket.socket(fileno=descriptor))
    threading.Thread(target=connection.read_forever, daemon=True).start()
    try:
        model = load(launch)
    except BaseException as error:
        traceback.print_exc()
        code = "insufficient_memory" if _is_out_of_memory(error) else "model_load_failed"
        is_weights = isinstance(error, UnusableWeights)
        reason = str(error) if is_weights else type(error).__name__
        connection.send({"type": "load_error", "code": code, "reason": reason, "is_weights": is_weights})
        sys.stderr.flush()
        os._exit(1)
    connection.send({"type": "ready"})
    while True:
        header, payload = connection.next_message()
        if header["type"] == "stop":
            sys.stderr.flush()
            os._exit(0)  # libraries with threads of their own can hang in an orderly exit
        model.threads = header["threads"]
        run_batch(connection, model, items_of(connection, header, payload))
        del payload


if __name__ == "__main__":
    main()
