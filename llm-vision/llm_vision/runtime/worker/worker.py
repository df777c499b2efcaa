"""One model in a process of its own: requests in, results and tokens back, restarted when it crashes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context

from ...admission.places import RETRY_AFTER_SECONDS
from ...errors import InferenceFailed, InsufficientMemory, PromptTooLong, QueueFull, VisionError, WorkerCrashed
from ...runtime.work import Chunk, OnChunk, WorkRequest, WorkResult
from ..placement.placements import Placement
from ..processes.process import EXIT_SECONDS
from ..processes.wire import DEVICE_LOST, MAX_HEADER_BYTES, Header, encoded_size
from .limits import WorkerLimits, WorkerState
from .process import DeviceUnusable, Launch, Launches, WorkerProcess, request_error
from .queue import BatchQueue, Ticket
from .running import Running
from .shared import Shared

log = logging.getLogger(__name__)

CRASH_BACKOFF_SECONDS = (0.0, 0.5, 2.0, 10.0)  # the first restart is at once: most crashes happen once
ENTRY_BYTES = 4096  # of what else is told of a request
CALM_SECONDS = 60.0  # a worker that has run this long starts its count of crashes anew


class Worker:
    """The gateway's handle of one loaded model.

    Args:
        launches: in which placements to start it.
        limits: how much it takes in.
        shared: the metrics and cores of all workers.
        arriving: how many admitted requests are still on their way to the queue.
        on_failed: called once when a restart failed and the worker is of no use any more.
    """

    def __init__(
        self,
        launches: Launches,
        limits: WorkerLimits,
        shared: Shared,
        arriving: Callable[[], int] = lambda: 0,
        on_failed: Callable[[VisionError], None] = lambda error: None,
    ) -> None:
        self._launches = deque(launches.launches)
        self.model_id = self._launch.model_id
        self._limits = limits
        self._metrics = shared.metrics
        self._on_failed = on_failed
        self._queue = BatchQueue(limits.max_queue, limits.max_batch, limits.batch_wait, arriving)
        self._running = Running(limits, shared.cores)
        self._process: WorkerProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._device_notice = launches.notice
        self._is_device_lost = False
        self._is_hung = False
        self.state = WorkerState.LOADING
        self.restarts = 0

    async def start(self) -> None:
        """Start the process and wait until its model is ready.

        Raises:
            ModelLoadFailed: the model did not load.
            InsufficientMemory: it ran out of memory while it loaded.
        """
        process = await self._start_process()
        self._supervisor = asyncio.create_task(self._supervise(process), context=Context())

    @property
    def _launch(self) -> Launch:
        return self._launches[0]

    @property
    def placement(self) -> Placement:
        """On which device the model runs, with how many bits."""
        return self._launch.placement

    @property
    def is_recovering(self) -> bool:
        """Whether its device failed and a new process is not ready yet."""
        return self._is_device_lost

    @property
    def device_notice(self) -> str | None:
        """Why the model does not run where it was meant to; None when it does."""
        return self._device_notice

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        return self._process.pid if self._process else None

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process now."""
        return self._process.memory_bytes if self._process else 0

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
            raise WorkerCrashed("the model's process is gone", retry_after=RETRY_AFTER_SECONDS)
        if encoded_size(request.params) > MAX_HEADER_BYTES // self._limits.max_batch - ENTRY_BYTES:
            raise PromptTooLong("the texts of the request are too large for the model's process")
        loop = asyncio.get_running_loop()
        ticket = Ticket(request, loop.create_future(), time.perf_counter(), on_chunk, on_started)
        self._queue.put(ticket)
        on_queued()
        expiry = loop.call_later(self._limits.queue_seconds, self._expire, ticket)
        try:
            return await ticket.future
        except asyncio.CancelledError:
            self._abandon(ticket)
            raise
        finally:
            expiry.cancel()

    async def stop(self, grace: float = 0.5) -> None:
        """End the process: politely within `grace` seconds, else by force."""
        self.state = WorkerState.STOPPED
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        process, self._process = self._process, None
        if process:
            await process.close(grace)
        self._fail_all(WorkerCrashed("the model was unloaded", retry_after=RETRY_AFTER_SECONDS))

    def _expire(self, ticket: Ticket) -> None:
        if self.state is WorkerState.READY and self._queue.discard(ticket):
            ticket.fail(QueueFull("the wait in the queue became too long", retry_after=RETRY_AFTER_SECONDS))

    def _abandon(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: do not run it, or stop running it."""
        if self._queue.discard(ticket) or ticket not in self._running or not self._process:
            return
        self._process.send({"type": "cancel", "id": ticket.ticket_id})
        if self._limits.is_stepped or not self._running.is_wanted:
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.abandoned_grace, self._kill_abandoned, self._process, ticket)

    def _kill_abandoned(self, process: WorkerProcess, ticket: Ticket) -> None:
        """End a process that has not let go of a ticket; a batch goes on for those who still wait for it."""
        is_over = process is not self._process or ticket not in self._running
        if is_over or (self._running.is_wanted and not self._limits.is_stepped):
            return
        log.warning("ending what nobody waits for", extra={"worker": self.model_id})
        self._is_hung = self._limits.is_stepped
        process.kill()

    async def _start_process(self) -> WorkerProcess:
        """Start a process and wait for its model; in the next placement when this one does not suffice."""
        self.state = WorkerState.LOADING
        while True:
            try:
                self._process = await WorkerProcess.start(self._launch, self._limits.load_seconds)
            except (InsufficientMemory, DeviceUnusable) as error:
                if not self._has_another_placement:
                    raise
                self._go_to_next_placement(error)
            else:
                self.state = WorkerState.READY
                self._is_device_lost = False
                return self._process

    @property
    def _has_another_placement(self) -> bool:
        return len(self._launches) > 1

    def _go_to_next_placement(self, error: VisionError) -> None:
        """Let the next process run the model in the next placement."""
        left = self._launches.popleft()
        cause = "there was too little memory" if isinstance(error, InsufficientMemory) else "the model did not load"
        self._device_notice = f"{cause} {left.placement.words}, so it runs {self.placement.words}"
        self._metrics.model_moved(self.model_id, self.placement.device, self.placement.quantization)
        log.warning(self._device_notice, extra={"worker": self.model_id, "reason": error.detail})

    async def _supervise(self, process: WorkerProcess) -> None:
        """Serve with one process after the other; ends only when a restart fails."""
        crashes = 0
        while True:
            started = time.monotonic()
            placement = self.placement
            await self._serve(process)
            self.state = WorkerState.LOADING
            status = await process.close(EXIT_SECONDS)
            self._process = None
            waiting = self._running.close()
            if placement == self.placement:  # else it was ended to go on in another placement
                crashes = 0 if time.monotonic() - started > CALM_SECONDS else crashes
                self._answer_crash(status)
                await asyncio.sleep(CRASH_BACKOFF_SECONDS[min(crashes, len(CRASH_BACKOFF_SECONDS) - 1)])
                crashes += 1
            waiting += self._running.end_all()
            self._queue.put_back([ticket for ticket in waiting if ticket.is_wanted])
            try:
                process = await self._start_process()
            except VisionError as error:
                self._give_up(error)
                return

    async def _serve(self, process: WorkerProcess) -> None:
        """Exchange messages with a process until it ends."""
        self._running.open()
        dispatcher = asyncio.create_task(self._dispatch(process))
        try:
            async for message in process.messages():
                self._take(message, process)
        finally:
            dispatcher.cancel()
            await asyncio.gather(dispatcher, return_exceptions=True)

    async def _dispatch(self, process: WorkerProcess) -> None:
        """Send requests as soon as there is room for them."""
        while True:
            batch = await self._queue.next_batch(await self._running.room())
            threads = self._running.start(batch, time.perf_counter())
            header = {"type": "batch", "threads": threads, "items": [ticket.as_entry() for ticket in batch]}
            may_come_back = self._has_another_placement
            process.send(header, [data for ticket in batch for data in ticket.buffers(may_come_back=may_come_back)])
            del batch  # a picture stays no longer than its request

    def _take(self, message: Header, process: WorkerProcess) -> None:
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
            self._go_to_next_placement(InsufficientMemory("a request did not fit"))
            process.kill()

    def _take_end(self, ticket: Ticket, message: Header) -> None:
        if "result" in message:
            result = self._result_of(ticket, message)
            if ticket.is_wanted:
                ticket.future.set_result(result)
            if self._limits.is_stepped:
                self._metrics.batch_ran(self.model_id, result.batch_size, result.run_seconds)
        elif message["error"] == InsufficientMemory.code and self._may_run_elsewhere(ticket):
            self._running.set_aside(ticket)  # until there is a process that needs less
        else:
            ticket.fail(request_error(message))
        if self._limits.is_stepped:
            self._running.end(ticket)

    def _may_run_elsewhere(self, ticket: Ticket) -> bool:
        return self._has_another_placement and ticket.is_wanted and not ticket.has_begun

    def _result_of(self, ticket: Ticket, message: Header) -> WorkResult:
        return WorkResult(
            value=message["result"],
            queue_seconds=ticket.started_at - ticket.enqueued_at,
            run_seconds=message["seconds"],
            batch_size=len(self._running),
            device=self.placement.device,
            device_notice=self._device_notice,
        )

    def _finish_batch(self, size: int, seconds: float) -> None:
        """Let the next batch come."""
        if size:
            self._metrics.batch_ran(self.model_id, size, seconds)
        for ticket in self._running.end_all():
            ticket.fail(InferenceFailed("the model gave no answer"))

    def _answer_crash(self, status: int) -> None:
        """Tell everybody whose request was running that the process is gone."""
        self.restarts += 1
        self._is_device_lost = status == DEVICE_LOST
        self._metrics.worker_restarted(self.model_id)
        log.error("a worker process ended", extra={"worker": self.model_id, "status": status})
        running, was_hung = self._running.end_all(), self._is_hung
        self._is_hung = False
        if was_hung:  # because of one that nobody waits for: the others had only joined it
            self._queue.put_back([ticket for ticket in running if ticket.is_wanted and not ticket.has_begun])
        for ticket in running:
            if ticket.has_begun or not was_hung:
                ticket.fail(WorkerCrashed("the model's process ended", retry_after=RETRY_AFTER_SECONDS))

    def _give_up(self, error: VisionError) -> None:
        self.state = WorkerState.FAILED
        self._fail_all(error)
        self._on_failed(error)

    def _fail_all(self, error: VisionError) -> None:
        for ticket in (*self._running.close(), *self._running.end_all(), *self._queue.drain()):
            ticket.fail(error)
