"""Promise 27: whatever the order of loads, requests, unloads, failures and departures, the pool keeps its word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fixtures.faulty_models import ALL
from llm_vision.admission.places import admit_everywhere
from llm_vision.errors import ModelLoadFailed, VisionError
from llm_vision.metrics import Metrics
from llm_vision.models.base import ModelSpec
from llm_vision.models.registry import Catalog, CatalogEntry
from llm_vision.runtime.placement.placements import Placement, Placements
from llm_vision.runtime.pool.limits import PoolLimits
from llm_vision.runtime.pool.pool import ModelPool
from llm_vision.runtime.weights.store import LocatedWeights
from llm_vision.runtime.worker.limits import WorkerState
from llm_vision.runtime.worker.owner import Owner

MODELS = ["faulty", "second", "one-by-one"]
MAX_LOADED = 2


class FakeWorker:
    """A worker without a process, which notes every use that it must not see."""

    def __init__(self, machine: PoolMachine, entry: CatalogEntry, owner: Owner) -> None:
        self._machine = machine
        self.model_id = entry.spec.model_id
        self.owner = owner
        self.is_running = False
        self.state = WorkerState.LOADING
        self.queue_length = 0
        self.memory_bytes = 1
        self.placement = Placement("cpu", memory_bytes=1)
        self.is_recovering = False
        self.device_notice = None

    async def start(self) -> None:
        machine = self._machine
        assert not [worker for worker in machine.workers if worker.is_running and worker.model_id == self.model_id]
        await machine.gate(self.model_id)
        if self.model_id in machine.broken:
            raise ModelLoadFailed("broken")
        self.is_running = True
        self.state = WorkerState.READY
        machine.workers.append(self)

    async def infer(self) -> None:
        assert self.is_running, "used after its unload"
        await self._machine.finish.wait()
        assert self.is_running, "unloaded while in use"

    async def stop(self, grace: float = 5.0) -> None:
        await asyncio.sleep(0)
        self.is_running = False
        self.state = WorkerState.STOPPED


class AtOnce(ThreadPoolExecutor):
    """Does what is for a thread in its place, so that a step ends when nothing moves."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*args, **named))
        return done


class PoolMachine(RuleBasedStateMachine):
    """Steps in any order; the loop runs until nothing moves after each."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(AtOnce())
        self.workers: list[FakeWorker] = []
        self.broken: set[str] = set()
        self.held: set[str] = set()
        self.now = 0.0
        self.requests: list[asyncio.Task[None]] = []
        self.finish = asyncio.Event()
        self.released = asyncio.Event()
        limits = PoolLimits(max_loaded=MAX_LOADED, memory_bytes=1 << 50, max_queue=4, keep_alive=10, room_seconds=0)
        self.pool = ModelPool(Catalog(map(CatalogEntry.of, ALL)), self, limits, Metrics(), lambda: self.now)  # type: ignore[arg-type]

    def files(self, spec: ModelSpec) -> Iterable[Path]:
        return spec.weight_files()

    async def locate(self, spec: ModelSpec) -> LocatedWeights:
        return LocatedWeights()

    async def placements(self, spec: ModelSpec, weights: LocatedWeights) -> Placements:
        return Placements((Placement("cpu", memory_bytes=spec.memory_bytes),))

    def make(self, entry: CatalogEntry, weights: LocatedWeights, placements: Placements, owner: Owner) -> FakeWorker:
        return FakeWorker(self, entry, owner)

    async def gate(self, model_id: str) -> None:
        while model_id in self.held:
            await self.released.wait()

    def settle(self) -> None:
        async def turns() -> None:
            for _ in range(40):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        for task in self.requests:
            if task.done() and not task.cancelled():
                task.result()  # a worker that was used wrongly says so here
        self.requests = [task for task in self.requests if not task.done()]

    def start(self, work: Callable[[], object]) -> None:
        async def run() -> None:
            with contextlib.suppress(VisionError):
                await work()  # type: ignore[misc]

        self.requests.append(self.loop.create_task(run()))
        self.settle()

    @rule(model=st.sampled_from(MODELS))
    def infer(self, model: str) -> None:
        async def ask() -> None:
            with admit_everywhere([self.pool.places(model)], "anyone"):
                async with self.pool.lease(model) as worker:
                    await worker.infer()  # type: ignore[call-arg,arg-type]

        self.start(ask)

    @rule(model=st.sampled_from(MODELS))
    def load(self, model: str) -> None:
        self.start(lambda: self.pool.load(model))

    @rule(model=st.sampled_from(MODELS))
    def unload(self, model: str) -> None:
        self.start(lambda: self.pool.unload(model))

    @rule(seconds=st.sampled_from([1, 9, 11, 400]))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        self.start(self.pool.expire)

    @rule(model=st.sampled_from(MODELS))
    def break_or_repair(self, model: str) -> None:
        self.broken ^= {model}

    @rule(model=st.sampled_from(MODELS))
    def hold_or_release_loads(self, model: str) -> None:
        self.held ^= {model}
        self.released.set()
        self.released = asyncio.Event()
        self.settle()

    @rule()
    def finish_requests(self) -> None:
        self.finish.set()
        self.settle()
        self.finish = asyncio.Event()

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def cancel_one(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.requests)).cancel()
        self.settle()

    @precondition(lambda self: any(worker.is_running for worker in self.workers))
    @rule(data=st.data())
    def a_worker_is_lost(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.is_running]))
        worker.is_running = True  # requests that hold it see their own error; the pool forgets it
        self.loop.run_until_complete(worker.owner.on_failed(ModelLoadFailed("it did not start again")))
        self.loop.run_until_complete(worker.stop())
        for task in self.requests:
            task.cancel()
        self.settle()

    @invariant()
    def at_most_one_worker_a_model_and_no_more_than_allowed(self) -> None:
        running = [worker.model_id for worker in self.workers if worker.is_running]
        assert len(running) == len(set(running)) <= MAX_LOADED

    @invariant()
    def leases_are_those_of_the_requests(self) -> None:
        leases = [status.leases for status in self.pool.status()]
        assert all(count >= 0 for count in leases)
        assert sum(leases) <= len(self.requests)

    def teardown(self) -> None:
        self.held.clear()
        self.released.set()
        self.finish.set()
        for task in self.requests:
            task.cancel()
        self.settle()
        self.loop.run_until_complete(self.pool.close())
        assert not [worker for worker in self.workers if worker.is_running]
        assert sum(status.leases for status in self.pool.status()) == 0
        self.loop.close()


PoolMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=50,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestPromise27 = PoolMachine.TestCase
"""40 x 50 = 2,000 steps."""
