"""The bounded queue of one worker, and which requests run together."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ...admission.places import RETRY_AFTER_SECONDS
from ...admission.turns import Turns
from ...errors import QueueFull
from ...models.base import JsonObject
from ..work import Chunk, OnChunk, WorkRequest, WorkResult

_ids = itertools.count(1)
_A_DAY = 86_400.0  # as long as for ever


class Start(Enum):
    """When a ticket can be worked on."""

    NOW = 1
    NEXT = 2
    """Before any other: what runs must end first."""
    LATER = 3
    """Others may overtake it."""


WhenToStart = Callable[["Ticket", Sequence["Ticket"]], Start]
"""Says so of a ticket, beside some that are about to begin."""


@dataclass(eq=False)
class Ticket:
    """A request that waits for its result."""

    request: WorkRequest
    future: asyncio.Future[WorkResult]
    enqueued_at: float
    on_chunk: OnChunk | None = None
    on_started: Callable[[], None] = lambda: None
    ticket_id: int = field(default_factory=lambda: next(_ids))
    started_at: float = 0.0
    has_begun: bool = False
    """Whether its client has been sent something: it cannot be run again."""

    @property
    def client(self) -> str:
        """Who asks."""
        return self.request.client

    @property
    def picture_bytes(self) -> int:
        """Size of its pictures' pixels, also where these have been given away."""
        return sum(3 * image.width * image.height for image in self.request.images)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits and has no answer yet."""
        return not self.future.done()

    def as_entry(self) -> JsonObject:
        """What the worker process is told of it; the pictures' bytes follow in the payload."""
        left = self.request.ends_at - asyncio.get_running_loop().time()
        return {
            "id": self.ticket_id,
            "client": self.client,
            "seconds": min(max(left, 0.0), _A_DAY),
            "params": self.request.params,
            "owner": self.request.owner,
            "sizes": [(image.width, image.height) for image in self.request.images],
        }

    def buffers(self, *, may_come_back: bool) -> list[bytes | bytearray]:
        """The pictures' pixels, given away where nobody needs them again."""
        take = self.request.is_last_use and not may_come_back
        return [image.take() if take else image.data for image in self.request.images]

    def send(self, chunk: Chunk) -> None:
        """Pass on what was generated."""
        if self.on_chunk and self.is_wanted:
            self.has_begun = True
            self.on_chunk(chunk)

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless it is answered already."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # read once: nobody may be left to do so


class BatchQueue:
    """Bounded; hands out batches in which clients take turns by work, each one's requests in their order.

    Args:
        max_queue: tickets that may wait.
        max_batch: most tickets in a batch.
        batch_wait: seconds to wait for a request that is on its way.
        arriving: how many admitted requests have not been queued yet.
    """

    def __init__(self, max_queue: int, max_batch: int, batch_wait: float, arriving: Callable[[], int]) -> None:
        self._max_queue = max_queue
        self._max_batch = max_batch
        self._batch_wait = batch_wait
        self._arriving = arriving
        self._tickets: deque[Ticket] = deque()
        self._turns = Turns()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tickets)

    def put(self, ticket: Ticket) -> None:
        """Queue a ticket.

        Raises:
            QueueFull: as many as may wait are waiting.
        """
        if len(self._tickets) >= self._max_queue + self._max_batch:
            raise QueueFull("the queue of this model is full", retry_after=RETRY_AFTER_SECONDS)
        self._tickets.append(ticket)
        self._changed.set()

    def put_back(self, tickets: list[Ticket]) -> None:
        """Put tickets that were taken in front again."""
        self._tickets.extendleft(reversed(tickets))
        self._changed.set()

    def look_again(self) -> None:
        """More may start than before."""
        self._changed.set()

    def charge(self, client: str, seconds: float) -> None:
        """Note how much work a request has been."""
        self._turns.charge(client, seconds)

    def discard(self, ticket: Ticket) -> bool:
        """Take a ticket out that nobody wants any more; False when it is not queued."""
        try:
            self._tickets.remove(ticket)
        except ValueError:
            return False
        return True

    def drain(self) -> list[Ticket]:
        """Take everything out."""
        tickets = list(self._tickets)
        self._tickets.clear()
        return tickets

    async def next_batch(self, when: WhenToStart) -> list[Ticket]:
        """Wait for the first ticket that may start, then take what is there.

        A batch with room waits for requests that are still being decoded, so that a burst runs
        together and a lone request starts at once.
        """
        while True:
            while not self._choose(when, ()):
                self._changed.clear()
                await self._changed.wait()
            await self._wait_for_arriving()
            if batch := self._take_batch(when):
                return batch

    async def _wait_for_arriving(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._batch_wait
        while self._arriving() > 0 and len(self._tickets) < self._max_batch:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break

    def _take_batch(self, when: WhenToStart) -> list[Ticket]:
        batch: list[Ticket] = []
        while ticket := self._choose(when, batch):
            self._tickets.remove(ticket)
            self._turns.record_turn(ticket.client)
            batch.append(ticket)
        return batch

    def _choose(self, when: WhenToStart, batch: Sequence[Ticket]) -> Ticket | None:
        """The next ticket that may start beside some others; no client's tickets overtake one another."""
        passed: set[str] = set()
        while waiting := [ticket for ticket in self._tickets if ticket.client not in passed]:
            ticket = self._turns.choose_next(waiting)
            start = when(ticket, batch)
            if start is not Start.LATER:
                return ticket if start is Start.NOW else None
            passed.add(ticket.client)
        return None
