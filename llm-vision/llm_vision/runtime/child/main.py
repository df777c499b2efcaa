"""The worker process: one model, batches in, tokens and results out.

Started as `python -P -m llm_vision.runtime.child.main FD PARENT_PID LAUNCH_JSON`. The main thread runs the
model; a reader thread takes messages and ends the process when the gateway is gone. Standard output and
error are log pipes only.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ...child_log import tell_exception
from ...errors.memory import is_out_of_memory
from ...guard import guard_process, limit_memory
from ...models.base import JsonObject, LoadContext, Model, Quantization, SteppedModel, UnusableWeights
from ..processes import wire
from ..weights.proof import proven
from .connection import Connection, WorkItem, items_of
from .outcomes import answer, as_failure, end_if_device_is_lost, free_memory
from .stepping import Stepping


def predict(model: Model, items: Sequence[WorkItem], *, is_retry: bool = False) -> list[JsonObject | Exception]:
    """One result or exception per item; never raises.

    A batch that runs out of memory is halved, down to single items, which have one more try each.
    """
    try:
        results = list(model.predict(items))
        if len(results) != len(items):
            raise ValueError(f"{len(results)} results for {len(items)} items")
        return results
    except BaseException as error:
        failure = as_failure(error)
    if is_out_of_memory(failure) and not is_retry:
        failure.__traceback__ = None  # its frames hold the tensors
        free_memory()
        if len(items) == 1:
            return predict(model, items, is_retry=True)
        middle = len(items) // 2
        return predict(model, items[:middle]) + predict(model, items[middle:])
    tell_exception(failure)
    return [failure] * len(items)


def run_batch(connection: Connection, model: Model, items: Sequence[WorkItem]) -> None:
    """Run what is still wanted and answer every item."""
    wanted = [item for item in items if not item.cancelled]
    started = time.perf_counter()
    results = predict(model, wanted) if wanted else []
    seconds = time.perf_counter() - started
    for item, result in zip(wanted, results, strict=True):
        answer(connection, item, result, seconds)
    connection.send({"type": "batch_end", "seconds": seconds, "size": len(wanted)})
    connection.cancelled.difference_update(item.item_id for item in items)
    end_if_device_is_lost(results)


def serve_batches(connection: Connection, model: Model) -> NoReturn:
    """Run one batch after the other until told to stop."""
    while True:
        header, payload = connection.next_message()
        if header["type"] == "stop":
            connection.leave()
        model.threads = header["threads"]
        items = items_of(connection, header, payload)
        del payload  # the items have it, and may let it go
        run_batch(connection, model, items)
        del items


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


def _load_error(error: BaseException, limit: int | None) -> wire.Header:
    """What the gateway is told of a load that failed."""
    code, reason = "model_load_failed", type(error).__name__
    if isinstance(error, UnusableWeights):
        reason = str(error)
    elif is_out_of_memory(error):
        code = "insufficient_memory"
        reason = f"it wants more than the {limit >> 20} MiB that it may take" if limit else "memory ran out"
    return {"type": "load_error", "code": code, "reason": reason, "is_weights": isinstance(error, UnusableWeights)}


def main() -> None:
    """Load the model, then run batches until told to stop."""
    descriptor, parent_pid, launch = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    guard_process(parent_pid)
    if limit := launch["limit_bytes"]:
        limit_memory(limit)
    connection = Connection(socket.socket(fileno=descriptor))
    threading.Thread(target=connection.read_forever, daemon=True).start()
    try:
        model = load(launch)
    except BaseException as error:
        tell_exception(error)
        connection.send(_load_error(error, limit))
        sys.stderr.flush()
        os._exit(1)
    connection.send({"type": "ready"})
    if isinstance(model, SteppedModel):
        Stepping(connection, model).serve()
    else:
        serve_batches(connection, model)


if __name__ == "__main__":
    main()
