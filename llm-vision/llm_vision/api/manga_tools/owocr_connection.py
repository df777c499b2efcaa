"""A connection of owocr's WebSocket: counted from its accept on, its pictures and their time as those of an upload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import OPEN

from ...admission.connections import Connections
from ...errors import QueueFull, RequestTimeout, VisionError
from ...http.exchange import BodyRules

LONGEST_PINGS = 1024
"""Bytes: what comes beyond that, while a picture may take, is a picture or a part of one."""
MOST_UNFETCHED = 1024 * 1024
"""Bytes of answers to pings that may lie until the client fetches them, beside the answer to a picture."""


@dataclass(frozen=True)
class CrowdRules:
    """What connections may do.

    Args:
        body: how long a picture may take, and what all that is uploaded shares.
        max_bytes: what a picture holds of that while it comes.
        most: how many may be let in.
        most_of_one: of one client.
        most_waiting: how many may be open that were not let in yet, or are being ended.
        on_refused: called with the error for which one is ended.
        on_pushed_out: called when one is ended because there are too many.
    """

    body: BodyRules
    max_bytes: int
    most: int
    most_of_one: int
    most_waiting: int
    on_refused: Callable[[VisionError], None]
    on_pushed_out: Callable[[], None]


class PictureConnection(ServerConnection):
    """Pictures come in, texts go out.

    A connection is one of `waiting` until it is let in, and again when it is being ended.
    """

    rules: ClassVar[CrowdRules]
    waiting: ClassVar[Connections[PictureConnection]]
    inside: ClassVar[Connections[PictureConnection]]

    @classmethod
    def configured(cls, rules: CrowdRules) -> type[PictureConnection]:
        """The class that the server makes connections of."""
        crowds: dict[str, Connections[PictureConnection]] = {
            "waiting": Connections(rules.most_waiting),
            "inside": Connections(rules.most, rules.most_of_one),
        }
        return type(cls.__name__, (cls,), {"rules": rules, **crowds})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held_bytes = 0
        self._came_bytes, self._came_since = 0, 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._goodbye: asyncio.Task[None] | None = None
        self._answer_bytes = 0
        self.is_answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wait()

    def _wait(self) -> None:
        """Be one of those that wait; the oldest, of the client that has most of them, may be one too many."""
        self.waiting.enter(self, str(self.remote_address[0]) if self.remote_address else "unknown")
        self.waiting.mark_idle(self)
        if victim := self.waiting.choose_victim(self):
            self.waiting.leave(victim)
            self.rules.on_pushed_out()
            victim.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.waiting.leave(self)
        self.inside.leave(self)
        self._end_picture()

    def data_received(self, data: bytes) -> None:
        if self._goodbye:
            return
        super().data_received(data)
        if self.state is OPEN:
            self._count(len(data))
        if self.transport.get_write_buffer_size() > self._answer_bytes + MOST_UNFETCHED:
            self.transport.abort()

    def _count(self, size: int) -> None:
        """A few pings a minute are none; a picture in drops is one."""
        now = asyncio.get_running_loop().time()
        if now - self._came_since > self.rules.body.seconds:
            self._came_bytes, self._came_since = 0, now
        self._came_bytes += size
        if self._came_bytes > LONGEST_PINGS:
            self._begin_picture()

    def let_in(self, client: str) -> None:
        """It may send pictures from now on, unless all others are busy; else the one that is idle for longest goes."""
        self.waiting.leave(self)
        self.inside.enter(self, client)
        self.inside.mark_idle(self)
        if victim := self.inside.choose_victim(self):
            victim.inside.leave(victim)
            victim._refuse(QueueFull("too many connections, and the others are busy or newer"))
            victim._wait()
            if victim is not self:
                self.rules.on_pushed_out()

    async def next_picture(self) -> bytes | None:
        """What the client sends next; it is the caller's to count. None when the client has left."""
        self.is_answering = False
        if self._held_bytes:
            self._begin_picture()  # the next one has come in part already
        else:
            self.inside.mark_idle(self)
        try:
            while True:
                message = await self.recv()
                self.is_answering = isinstance(message, bytes)
                self._end_picture()
                if self.is_answering:
                    self.inside.mark_busy(self)
                if isinstance(message, bytes):
                    return message
        except ConnectionClosed:
            return None

    async def send_text(self, text: str) -> None:
        """Send a text; a client that does not fetch it, or has left, is let go."""
        body, data = self.rules.body, text.encode()
        self._answer_bytes = len(data)
        try:
            async with body.deadlines.within(body.seconds, self._picture_timed_out):
                await self.send(data, text=True)
        except ConnectionClosed:
            return
        except VisionError:
            self.transport.abort()
        self._answer_bytes = 0

    def _picture_timed_out(self) -> RequestTimeout:
        return RequestTimeout(f"a picture, or its answer, took longer than {self.rules.body.seconds:g} s")

    def _begin_picture(self) -> None:
        """It holds memory from its first part on; its time counts once the one before is answered."""
        if not self._held_bytes:
            try:
                self.rules.body.budget.take(self.rules.max_bytes)
            except QueueFull as error:
                self._refuse(error)
                return
            self._held_bytes = self.rules.max_bytes
            self.inside.mark_busy(self)
        if not self._deadline and not self.is_answering:
            self._deadline = asyncio.get_running_loop().call_later(
                self.rules.body.seconds, lambda: self._refuse(self._picture_timed_out())
            )

    def _end_picture(self) -> None:
        self.rules.body.budget.give_back(self._held_bytes)
        self._held_bytes = self._came_bytes = 0
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, error: VisionError) -> None:
        """End the connection in a way that lets the client see why; what it still sends is not kept."""
        if self.state is OPEN and not self._goodbye:
            self.rules.on_refused(error)
            self._goodbye = asyncio.get_running_loop().create_task(self.close(CloseCode.TRY_AGAIN_LATER, error.detail))
