"""The requests that a worker process works on now, and which others it can take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from .limits import WorkerLimits
from .queue import Start, Ticket
from .shared import CoreShare

_MOST_PICTURE_BYTES = 512 * 1024 * 1024  # pixels; half of what a frame may hold


class Running:
    """Tickets between the queue and their end.

    Args:
        limits: how many at a time, and whether they join while others run.
        cores: divided among the models that run something.
        on_room: called when more may run than before.
    """

    def __init__(self, limits: WorkerLimits, cores: CoreShare, on_room: Callable[[], None] = lambda: None) -> None:
        self._limits = limits
        self._cores = cores
        self._busy = ExitStack()
        self._tickets: dict[int, Ticket] = {}
        self._set_aside: list[Ticket] = []
        self._is_open = False
        self._on_room = on_room

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
        self._on_room()

    def when_to_start(self, ticket: Ticket, others: Sequence[Ticket]) -> Start:
        """When a ticket can be taken, beside some that are about to begin.

        Several huge pictures do not run together. What is kept for clients of whom nothing runs, a client that has
        something running does not take.
        """
        if not self._is_open or self._set_aside or (self._tickets and not self._limits.is_stepped):
            return Start.NEXT
        running = [*self._tickets.values(), *others]
        places, room = self._limits.max_batch, _MOST_PICTURE_BYTES
        is_restricted = bool(self._limits.places_for_others) and any(one.client == ticket.client for one in running)
        if is_restricted:
            places, room = places - self._limits.places_for_others, room // 2
        used = sum(one.picture_bytes for one in running)
        if len(running) < places and (not running or used + ticket.picture_bytes <= room):
            return Start.NOW
        return Start.LATER if is_restricted else Start.NEXT

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
        self._on_room()
        if not self._tickets:
            self._busy.close()

    def end_all(self) -> list[Ticket]:
        """Nothing is worked on any more; what was."""
        tickets = list(self._tickets.values())
        self._tickets.clear()
        self._busy.close()
        self._on_room()
        return tickets

    def set_aside(self, ticket: Ticket) -> None:
        """Keep a ticket for a process in another placement; nothing more is begun in this one."""
        self.end(ticket)
        self._set_aside.append(ticket)

    def discard_set_aside(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: where it alone was to move, the process goes on."""
        if ticket in self._set_aside:
            self._set_aside.remove(ticket)
            self._on_room()

    def stop(self) -> None:
        """The process is about to go: nothing more is begun in it."""
        self._is_open = False

    def close(self) -> list[Ticket]:
        """The process is gone; the tickets that were set aside."""
        self.stop()
        tickets, self._set_aside = self._set_aside, []
        return tickets
