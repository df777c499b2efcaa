"""The requests that a worker process works on now, and how many more it can take."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

from .limits import WorkerLimits
from .queue import Ticket
from .shared import CoreShare


class Running:
    """Tickets between the queue and their end.

    Args:
        limits: how many at a time, and whether they join while others run.
        cores: divided among the models that run something.
    """

    def __init__(self, limits: WorkerLimits, cores: CoreShare) -> None:
        self._limits = limits
        self._cores = cores
        self._busy = ExitStack()
        self._tickets: dict[int, Ticket] = {}
        self._set_aside: list[Ticket] = []
        self._is_open = False
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._tickets)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket.ticket_id in self._tickets

    @property
    def ids(self) -> frozenset[int]:
        """Of all tickets."""
        return frozenset(self._tickets)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for one of them."""
        return any(ticket.is_wanted for ticket in self._tickets.values())

    @property
    def must_move(self) -> bool:
        """Whether nothing runs any more, and something waits for a process that runs the model in another placement."""
        return self._is_open and not self._tickets and any(ticket.is_wanted for ticket in self._set_aside)

    def get(self, ticket_id: int) -> Ticket | None:
        """A ticket that runs."""
        return self._tickets.get(ticket_id)

    def open(self) -> None:
        """A process is there."""
        self._is_open = True
        self._changed.set()

    async def room(self) -> int:
        """How many tickets can be taken; waits until it is at least one."""
        while not (free := self._free):
            self._changed.clear()
            await self._changed.wait()
        return free

    @property
    def _free(self) -> int:
        if not self._is_open or self._set_aside or (self._tickets and not self._limits.is_stepped):
            return 0
        return self._limits.max_batch - len(self._tickets)

    def start(self, batch: Sequence[Ticket], now: float) -> int:
        """Begin with some tickets; the threads that the model may use."""
        if not self._tickets:
            self._busy.enter_context(self._cores.shared())
        for ticket in batch:
            ticket.started_at = now
            ticket.on_started()
            self._tickets[ticket.ticket_id] = ticket
        return self._cores.threads

    def end(self, ticket: Ticket) -> None:
        """A ticket is not worked on any more."""
        self._tickets.pop(ticket.ticket_id, None)
        self._changed.set()
        if not self._tickets:
            self._busy.close()

    def end_all(self) -> list[Ticket]:
        """Nothing is worked on any more; what was."""
        tickets = list(self._tickets.values())
        self._tickets.clear()
        self._busy.close()
        self._changed.set()
        return tickets

    def set_aside(self, ticket: Ticket) -> None:
        """Keep a ticket for a process in another placement; nothing more is begun in this one."""
        self.end(ticket)
        self._set_aside.append(ticket)

    def discard_set_aside(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: where it alone was to move, the process goes on."""
        if ticket in self._set_aside:
            self._set_aside.remove(ticket)
            self._changed.set()

    def stop(self) -> None:
        """The process is about to go: nothing more is begun in it."""
        self._is_open = False

    def close(self) -> list[Ticket]:
        """The process is gone; the tickets that were set aside."""
        self.stop()
        tickets, self._set_aside = self._set_aside, []
        return tickets
