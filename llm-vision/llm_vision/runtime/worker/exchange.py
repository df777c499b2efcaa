"""The exchange of messages with one process of a model: batches to it, tokens and results from it."""

from __future__ import annotations

import asyncio
import logging
import time

from ...errors import InferenceFailed, InsufficientMemory
from ..processes.starving import Starving
from ..processes.wire import Header
from ..work import Chunk, WorkResult
from .parts import WorkerParts
from .process import WorkerProcess, read_error
from .queue import Ticket

log = logging.getLogger(__name__)

_LEAST_STARVED = 0.1
"""Share of the time that was given, from which on the time in which the machine did something else is given again."""


class Exchange:
    """With one process, from its start to its end.

    Args:
        process: its model is ready.
        parts: of its worker.
    """

    def __init__(self, process: WorkerProcess, parts: WorkerParts) -> None:
        self._process = process
        self._parts = parts
        self._queue = parts.queue
        self._running = parts.running
        self._current = parts.current
        self._is_over = False
        self.was_hung = False
        """Whether the process was ended because of a request that nobody waits for."""

    async def serve(self) -> None:
        """Exchange messages with the process until it ends."""
        self._running.open()
        dispatcher = asyncio.create_task(self._dispatch())
        try:
            async for message in self._process.messages():
                self._take(message)
        finally:
            self._is_over = True
            dispatcher.cancel()
            await asyncio.gather(dispatcher, return_exceptions=True)

    def abandon(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: stop running it."""
        self._running.discard_set_aside(ticket)
        if self._is_over or ticket not in self._running:
            return
        self._process.send({"type": "cancel", "id": ticket.ticket_id})
        limits = self._parts.limits
        if limits.is_stepped or not self._running.is_wanted:
            self._look_again(ticket, limits.abandoned_grace)

    def _look_again(self, ticket: Ticket, seconds: float) -> None:
        starving = Starving(self._process.pid)
        asyncio.get_running_loop().call_later(seconds, self._kill_abandoned, ticket, starving)

    def _kill_abandoned(self, ticket: Ticket, starving: Starving) -> None:
        """End a process that has not let go of a ticket in its own time; a batch goes on for those who wait for it."""
        is_over = self._is_over or ticket not in self._running
        limits = self._parts.limits
        is_stepped = limits.is_stepped
        if is_over or (self._running.is_wanted and not is_stepped):
            return
        if starving.seconds > _LEAST_STARVED * limits.abandoned_grace:
            self._look_again(ticket, starving.seconds)
            return
        log.warning("killing a process whose requests were abandoned", extra={"worker": self._parts.model_id})
        self.was_hung = is_stepped
        self._process.kill()

    async def _dispatch(self) -> None:
        """Send requests as soon as there is room for them."""
        while True:
            batch = await self._queue.next_batch(self._running.when_to_start)
            threads = self._running.start(batch, time.perf_counter())
            header = {"type": "batch", "threads": threads, "items": [ticket.as_entry() for ticket in batch]}
            may_come_back = self._current.has_next
            self._process.send(
                header, [data for ticket in batch for data in ticket.buffers(may_come_back=may_come_back)]
            )
            del batch  # a picture stays no longer than its request

    def _take(self, message: Header) -> None:
        """Act on one message of the process."""
        if message["type"] == "batch_end":
            self._finish_batch(message["size"], message["seconds"])
        elif ticket := self._running.get(message["id"]):
            if message["type"] == "token":
                ticket.send(Chunk(message["text"], tuple(message.get("logprobs", ()))))
            else:
                self._take_end(ticket, message)
        if self._running.must_move:
            self._running.stop()
            self._current.go_to_next(InsufficientMemory("a request did not fit"))
            self._process.kill()

    def _take_end(self, ticket: Ticket, message: Header) -> None:
        is_stepped = self._parts.limits.is_stepped
        work = message.get("work")
        self._queue.charge(ticket.client, message["seconds"] / len(self._running) if work is None else work)
        if "result" in message:
            result = self._result_of(ticket, message)
            if ticket.is_wanted:
                ticket.future.set_result(result)
            if is_stepped:
                self._parts.metrics.observe_batch(self._parts.model_id, result.batch_size, result.run_seconds)
        elif message["error"] == InsufficientMemory.code and self._may_run_elsewhere(ticket):
            self._running.set_aside(ticket)  # until there is a process that needs less
        else:
            ticket.fail(read_error(message))
        if is_stepped:
            self._running.end(ticket)

    def _may_run_elsewhere(self, ticket: Ticket) -> bool:
        return self._current.has_next and ticket.is_wanted and not ticket.has_begun

    def _result_of(self, ticket: Ticket, message: Header) -> WorkResult:
        return WorkResult(
            value=message["result"],
            queue_seconds=ticket.started_at - ticket.enqueued_at,
            run_seconds=message["seconds"],
            batch_size=len(self._running),
            device=self._current.placement.device,
            device_notice=self._current.notice,
        )

    def _finish_batch(self, size: int, seconds: float) -> None:
        """Let the next batch come."""
        if size:
            self._parts.metrics.observe_batch(self._parts.model_id, size, seconds)
        for ticket in self._running.end_all():
            ticket.fail(InferenceFailed("the model gave no answer"))
