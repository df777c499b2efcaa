"""A connection of owocr's WebSocket: counted from its accept on, its bytes and its time as those of an upload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.protocol import OPEN

from ...errors import QueueFull, RequestTimeout, VisionError
from ...http.exchange import BodyRules

_LINGER_SECONDS = 2.0


@dataclass(frozen=True)
class CrowdRules:
    """What connections may do.

    Args:
        body: how long a picture may take, and what all that is uploaded shares.
        most_waiting: how many may be open that were not let in yet.
        on_refused: called with the error for which one is ended.
        on_pushed_out: called when one is ended because there are too many.
    """

    body: BodyRules
    most_waiting: int
    on_refused: Callable[[VisionError], None]
    on_pushed_out: Callable[[], None]


class PictureConnection(ServerConnection):
    """Pictures come in, texts go out.

    Until it is let in, a connection is one of `waiting`; where these are too many, the oldest is ended.
    """

    rules: ClassVar[CrowdRules]
    waiting: ClassVar[dict[PictureConnection, None]]

    @classmethod
    def configured(cls, rules: CrowdRules) -> type[PictureConnection]:
        """The class that the server makes connections of."""
        return type(cls.__name__, (cls,), {"rules": rules, "waiting": {}})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread_bytes = 0  # of frames that are whole
        self._held_bytes = 0
        self._late: asyncio.TimerHandle | None = None
        self.is_answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.recv_messages.resume = self._read_on
        self.waiting[self] = None
        if len(self.waiting) > self.rules.most_waiting:
            oldest = next(iter(self.waiting))
            del self.waiting[oldest]
            self.rules.on_pushed_out()
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.waiting.pop(self, None)
        self._hold(0)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._count()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            self._unread_bytes += len(event.data)
        super().process_event(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.pause_reading()  # what is read is answered, pings at least

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()

    def _read_on(self) -> None:
        if not (self.paused or self.recv_messages.paused):
            self.transport.resume_reading()

    def let_in(self) -> None:
        """It is no longer one of those that may be pushed out."""
        self.waiting.pop(self, None)

    async def next_picture(self) -> bytes | None:
        """What the client sends next; it is the caller's to count. None when the client has left."""
        self.is_answering = False
        self._count()
        try:
            while True:
                message = await self.recv()
                self.is_answering = isinstance(message, bytes)
                self._unread_bytes -= len(message if isinstance(message, bytes) else message.encode())
                self._count()
                if isinstance(message, bytes):
                    return message
        except ConnectionClosed:
            return None

    async def tell(self, text: str) -> None:
        """Send a text; a client that does not fetch it, or has left, is let go."""
        body = self.rules.body
        try:
            async with body.deadlines.within(body.seconds, self._too_slow):
                await self.send(text)
        except ConnectionClosed:
            return
        except VisionError:
            self.transport.abort()

    def _too_slow(self) -> RequestTimeout:
        return RequestTimeout(f"a picture, or its answer, took longer than {self.rules.body.seconds:g} s")

    def _count(self) -> None:
        """Hold what has come and was not asked for yet; once a picture has begun, its time counts."""
        if self.state is not OPEN:
            return
        try:
            self._hold(len(self.protocol.reader.buffer) + self._unread_bytes)
        except QueueFull as error:
            self._refuse(error)

    def _hold(self, size: int) -> None:
        self.rules.body.budget.take(size - self._held_bytes)  # gives back what is less than nothing
        self._held_bytes = size
        if self._late and (not size or self.is_answering):
            self._late.cancel()
            self._late = None
        elif size and not self._late and not self.is_answering:
            self._late = self.loop.call_later(self.rules.body.seconds, lambda: self._refuse(self._too_slow()))

    def _refuse(self, error: VisionError) -> None:
        """End the connection, in a way that lets the client see why."""
        if self.state is OPEN:
            self.rules.on_refused(error)
            self.protocol.fail(CloseCode.TRY_AGAIN_LATER, error.detail)
            self.send_data()
            self.loop.call_later(_LINGER_SECONDS, self.transport.abort)
