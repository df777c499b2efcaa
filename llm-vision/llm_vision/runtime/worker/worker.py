"""One model in a process of its own: requests in, results and tokens back, restarted when it crashes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ...admission.places import RETRY_AFTER_SECONDS
from ...errors import PromptTooLong, QueueFull, WorkerCrashed
from ..placement.placements import Placement, Placements
from ..processes.wire import MAX_HEADER_BYTES, encoded_size
from ..work import OnChunk, WorkRequest, WorkResult
from .limits import WorkerLimits, WorkerState
from .owner import Owner
from .parts import CurrentPlacement, WorkerParts
from .process import Launch
from .queue import BatchQueue, Ticket
from .running import Running
from .shared import Shared
from .supervisor import Supervisor

ENTRY_BYTES = 4096  # of what else is told of a request


class Worker:
    """The gateway's handle of one loaded model.

    Args:
        launch: what its process is told.
        placements: where to start it, and where it goes on when that does not suffice.
        limits: how much it takes in.
        shared: the metrics and cores of all workers.
        owner: whom it asks and tells.
    """

    def __init__(
        self,
        launch: Launch,
        placements: Placements,
        limits: WorkerLimits,
        shared: Shared,
        owner: Owner,
    ) -> None:
        self.model_id = launch.model_id
        self._limits = limits
        self._current = CurrentPlacement(launch.model_id, placements, shared.metrics)
        self._queue = BatchQueue(limits.max_queue, limits.max_batch, limits.batch_wait, owner.arriving)
        running = Running(limits, shared.cores, self._queue.look_again)
        parts = WorkerParts(launch.model_id, limits, shared.metrics, self._queue, running, self._current)
        self._supervisor = Supervisor(parts, launch, owner)

    async def start(self) -> None:
        """Start the process and wait until its model is ready.

        Raises:
            ModelLoadFailed: the model did not load.
            InsufficientMemory: it ran out of memory while it loaded.
        """
        await self._supervisor.start()

    @property
    def state(self) -> WorkerState:
        """Where it is in its life."""
        return self._supervisor.state

    @property
    def placement(self) -> Placement:
        """On which device the model runs, with how many bits."""
        return self._current.placement

    @property
    def is_recovering(self) -> bool:
        """Whether its device failed and a new process is not ready yet."""
        return self._supervisor.is_recovering

    @property
    def device_notice(self) -> str | None:
        """Why the model does not run where it was meant to; None when it does."""
        return self._current.notice

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process now."""
        return self._supervisor.memory_bytes

    @property
    def queue_length(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    async def infer(
        self,
        request: WorkRequest,
        *,
        on_chunk: OnChunk | None = None,
        on_queued: Callable[[], None] = lambda: None,
        on_started: Callable[[], None] = lambda: None,
    ) -> WorkResult:
        """Run a request; cancelling the caller's task cancels the request.

        Args:
            request: options and pictures.
            on_chunk: called with each chunk of generated text, in order.
            on_queued: called once, when the request has its place in the queue.
            on_started: called once, when the model takes it.

        Raises:
            QueueFull: too many wait, or this one has waited too long.
            PromptTooLong: it is too large to be sent to the process.
            InferenceFailed, InsufficientMemory, WorkerCrashed, ModelLoadFailed: as their names say.
        """
        if self.state in (WorkerState.FAILED, WorkerState.STOPPED):
            raise WorkerCrashed("the model's process has ended", retry_after=RETRY_AFTER_SECONDS)
        if encoded_size(request.params) > MAX_HEADER_BYTES // self._limits.max_batch - ENTRY_BYTES:
            raise PromptTooLong("the texts of the request are too large to send to the model")
        loop = asyncio.get_running_loop()
        ticket = Ticket(request, loop.create_future(), time.perf_counter(), on_chunk, on_started)
        self._queue.put(ticket)
        on_queued()
        expiry = loop.call_later(self._limits.queue_seconds, self._expire, ticket)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self._supervisor.abandon(ticket)
            raise
        finally:
            expiry.cancel()

    async def stop(self, grace: float = 0.5) -> None:
        """End the process: politely within `grace` seconds, else by force."""
        await self._supervisor.stop(grace)

    def _expire(self, ticket: Ticket) -> None:
        if self.state is WorkerState.READY and self._queue.discard(ticket):
            ticket.fail(QueueFull("the wait in the queue became too long", retry_after=RETRY_AFTER_SECONDS))
