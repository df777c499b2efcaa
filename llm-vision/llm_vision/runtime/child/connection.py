"""A worker process's side of the socket: messages of the gateway, and the requests in them as items of a model."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from ...models.base import Item, JsonObject
from ..processes import wire
from ..processes.idle_memory import IDLE_SECONDS, give_back

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Connection:
    """The socket to the gateway: a locked sender, an inbox and the ids that were cancelled."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = sock.makefile("rb")
        self._send_lock = threading.Lock()
        self.inbox: queue.SimpleQueue[tuple[wire.Header, bytearray]] = queue.SimpleQueue()
        self.cancelled: set[int] = set()

    def send(self, header: wire.Header) -> None:
        frame = wire.encode(header)
        with self._send_lock:
            self._sock.sendall(frame)

    def waiting_message(self) -> tuple[wire.Header, bytearray] | None:
        """What the gateway has sent already; None when that is nothing."""
        try:
            return self.inbox.get_nowait()
        except queue.Empty:
            return None

    def next_message(self) -> tuple[wire.Header, bytearray]:
        """Wait for the gateway; memory that is free goes back to the system when it lets us wait."""
        try:
            return self.inbox.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            give_back()
        return self.inbox.get()

    def leave(self) -> NoReturn:
        """End this process at once: libraries with threads of their own can hang in an orderly exit."""
        sys.stderr.flush()
        os._exit(0)

    def read_forever(self) -> None:
        """Take messages until the gateway is gone, then end this process at once."""
        with contextlib.suppress(wire.PeerClosed, wire.BadFrame, OSError):
            while True:
                header, payload = wire.receive_blocking(self._received)
                if header["type"] == "cancel":
                    self.cancelled.add(header["id"])
                else:
                    self.inbox.put((header, payload))
                del payload  # else it stays until the next message comes
        os._exit(0)


class WorkItem(Item):
    """One request of a batch."""

    def __init__(self, connection: Connection, entry: JsonObject, images: tuple[NDArray[np.uint8], ...]) -> None:
        self._connection = connection
        self._ends_at = time.monotonic() + entry["seconds"]
        self.item_id: int = entry["id"]
        self.params = entry["params"]
        self.client = entry["client"]
        self.owner = entry["owner"]
        self.images = images

    @property
    def cancelled(self) -> bool:
        return self.item_id in self._connection.cancelled or time.monotonic() > self._ends_at

    def send_token(self, text: str, logprobs: Sequence[JsonObject] = ()) -> None:
        message = {"type": "token", "id": self.item_id, "text": text}
        self._connection.send({**message, "logprobs": logprobs} if logprobs else message)


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
