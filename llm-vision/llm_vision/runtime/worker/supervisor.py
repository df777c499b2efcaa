"""Keeps a process running for one model: starts it, again when it crashes, in the next placement when it must."""

from __future__ import annotations

import asyncio
import logging
import time
from contextvars import Context

from ...admission.places import RETRY_AFTER_SECONDS
from ...errors import InsufficientMemory, VisionError, WorkerCrashed
from ..processes.process import EXIT_SECONDS
from ..processes.wire import DEVICE_LOST
from .exchange import Exchange
from .limits import WorkerState
from .owner import Owner
from .parts import WorkerParts
from .process import DeviceUnusable, Launch, WorkerProcess
from .queue import Ticket

log = logging.getLogger(__name__)

CRASH_BACKOFF_SECONDS = (0.0, 0.5, 2.0, 10.0)  # the first restart is at once: most crashes happen once
CALM_SECONDS = 60.0  # a worker that has run this long starts its count of crashes anew


class Supervisor:
    """One process after the other, and what is told to those who wait when one ends.

    Args:
        parts: of its worker.
        launch: what each process is told.
        owner: who is told when a restart failed.
    """

    def __init__(self, parts: WorkerParts, launch: Launch, owner: Owner) -> None:
        self._parts = parts
        self._launch = launch
        self._queue = parts.queue
        self._running = parts.running
        self._current = parts.current
        self._owner = owner
        self._process: WorkerProcess | None = None
        self._exchange: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self.state = WorkerState.LOADING
        self.is_recovering = False
        """Whether its device failed and a new process is not ready yet."""

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process now; 0 when there is none."""
        return self._process.memory_bytes if self._process else 0

    async def start(self) -> None:
        """Start the first process and wait until its model is ready.

        Raises:
            ModelLoadFailed, InsufficientMemory: it did not load in any placement.
        """
        process = await self._start_process()
        self._task = asyncio.create_task(self._supervise(process), context=Context())

    async def stop(self, grace: float) -> None:
        """End the process: politely within `grace` seconds, else by force."""
        self.state = WorkerState.STOPPED
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        process, self._process = self._process, None
        if process:
            await process.close(grace)
        self._fail_all(WorkerCrashed("the model was unloaded", retry_after=RETRY_AFTER_SECONDS))

    def abandon(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: do not run it, or stop running it."""
        if not self._queue.discard(ticket) and self._exchange:
            self._exchange.abandon(ticket)

    async def _start_process(self) -> WorkerProcess:
        """Start a process and wait for its model; in the next placement when this one does not suffice."""
        self.state = WorkerState.LOADING
        while True:
            try:
                if self._current.has_moved:
                    await self._owner.make_room(self._current.placement)
                    self._current.has_moved = False
                self._process = await WorkerProcess.start(
                    self._launch, self._current.placement, self._parts.limits.load_seconds
                )
            except (InsufficientMemory, DeviceUnusable) as error:
                if not self._current.has_next:
                    raise
                self._current.go_to_next(error)
            else:
                self.state = WorkerState.READY
                self.is_recovering = False
                return self._process

    async def _supervise(self, process: WorkerProcess) -> None:
        """Serve with one process after the other; ends only when a restart fails."""
        crashes = 0
        while True:
            started = time.monotonic()
            placement = self._current.placement
            exchange = self._exchange = Exchange(process, self._parts)
            await exchange.serve()
            self.state = WorkerState.LOADING
            status = await process.close(EXIT_SECONDS)
            self._process = None
            waiting = self._running.close()
            if placement == self._current.placement:  # else it was ended to go on in another placement
                crashes = 0 if time.monotonic() - started > CALM_SECONDS else crashes
                self._answer_crash(status, was_hung=exchange.was_hung)
                await asyncio.sleep(CRASH_BACKOFF_SECONDS[min(crashes, len(CRASH_BACKOFF_SECONDS) - 1)])
                crashes += 1
            waiting += self._running.end_all()
            self._queue.put_back([ticket for ticket in waiting if ticket.is_wanted])
            try:
                process = await self._start_process()
            except VisionError as error:
                await self._give_up(error)
                return

    def _answer_crash(self, status: int, *, was_hung: bool) -> None:
        """Tell everybody whose request was running that the process is gone."""
        self.is_recovering = status == DEVICE_LOST
        self._parts.metrics.count_restart(self._parts.model_id)
        log.error("a worker process ended", extra={"worker": self._parts.model_id, "status": status})
        running = self._running.end_all()
        if was_hung:  # because of one that nobody waits for: the others had only joined it
            self._queue.put_back([ticket for ticket in running if ticket.is_wanted and not ticket.has_begun])
        for ticket in running:
            if ticket.has_begun or not was_hung:
                ticket.fail(WorkerCrashed("the model's process ended", retry_after=RETRY_AFTER_SECONDS))

    async def _give_up(self, error: VisionError) -> None:
        self.state = WorkerState.FAILED
        self._fail_all(error)
        await self._owner.on_failed(error)

    def _fail_all(self, error: VisionError) -> None:
        for ticket in (*self._running.close(), *self._running.end_all(), *self._queue.drain()):
            ticket.fail(error)
