"""A worker and a pool over the faulty models, in real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path

import psutil
import pytest

from conftest import Journal
from fixtures.faulty_models import ALL, Faulty
from llm_vision.errors import VisionError
from llm_vision.images.raw import RawImage
from llm_vision.metrics import Metrics
from llm_vision.models.base import Model, ModelSpec
from llm_vision.models.registry import Catalog, CatalogEntry
from llm_vision.runtime.placement.placements import Placement, Placements
from llm_vision.runtime.pool.limits import PoolLimits
from llm_vision.runtime.pool.pool import ModelPool
from llm_vision.runtime.weights.store import LocatedWeights
from llm_vision.runtime.work import WorkRequest
from llm_vision.runtime.worker.limits import WorkerLimits
from llm_vision.runtime.worker.owner import Owner
from llm_vision.runtime.worker.process import Launch
from llm_vision.runtime.worker.shared import CoreShare, Shared
from llm_vision.runtime.worker.worker import Worker


def request(do: str = "echo", /, **params: object) -> WorkRequest:
    """A request for the faulty model, without a picture."""
    return WorkRequest({"do": do, **params}, ())


def picture(value: int) -> RawImage:
    return RawImage(3, 2, bytes([value]) * 18)


class Clock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def launch_of(entry: CatalogEntry) -> Launch:
    return Launch(entry.spec.model_id, entry.class_path, threads=1)


def pid_of(worker: Worker) -> int | None:
    """The process id of a model's worker, while it has a process."""
    argument = f'"model_id": "{worker.model_id}"'
    children = psutil.Process().children()
    return next((child.pid for child in children if child.is_running() and argument in _command(child)), None)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _of_spec(spec: ModelSpec) -> dict[str, object]:
    return {"max_batch": spec.max_batch, "is_stepped": spec.is_stepped}


def make_worker(
    model: type[Model] = Faulty,
    ways: Sequence[Placement] = (Placement("cpu"),),
    arriving: Callable[[], int] = lambda: 0,
    on_failed: Callable[[VisionError], None] = lambda error: None,
    **limits: object,
) -> Worker:
    entry = CatalogEntry.of(model)

    async def tell(error: VisionError) -> None:
        on_failed(error)

    return Worker(
        launch_of(entry),
        Placements(tuple(ways)),
        WorkerLimits(**{**_of_spec(entry.spec), "abandoned_grace": 0.05, **limits}),  # type: ignore[arg-type]
        Shared(Metrics(), CoreShare(1)),
        Owner(arriving, tell),
    )


@pytest.fixture
async def worker(journal: Journal) -> AsyncIterator[Worker]:
    started = make_worker()
    await started.start()
    yield started
    await started.stop()


class PoolKit:
    """A pool over the faulty models, its clock, and the workers it made."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.workers: list[Worker] = []
        self.owners: list[Owner] = []
        """In the order of their workers."""
        self.pools: list[ModelPool] = []
        self.placed: dict[str, Placements] = {}
        """In which placements a model can run; else on the CPU, with what its spec says."""

    def pool(self, **limits: object) -> ModelPool:
        defaults = {"max_loaded": 4, "memory_bytes": 1 << 40, "max_queue": 4, "keep_alive": 300, "room_seconds": 0.05}
        made = ModelPool(
            Catalog(map(CatalogEntry.of, ALL)),
            self,
            PoolLimits(**{**defaults, **limits}),  # type: ignore[arg-type]
            self.metrics,
            self.clock,
        )
        self.pools.append(made)
        return made

    def files(self, spec: ModelSpec) -> Iterable[Path]:
        return spec.weight_files()

    async def locate(self, spec: ModelSpec) -> LocatedWeights:
        return LocatedWeights()

    async def placements(self, spec: ModelSpec, weights: LocatedWeights) -> Placements:
        return self.placed.get(spec.model_id) or Placements((Placement("cpu", memory_bytes=spec.memory_bytes),))

    def make(self, entry: CatalogEntry, weights: LocatedWeights, placements: Placements, owner: Owner) -> Worker:
        made = Worker(
            launch_of(entry),
            placements,
            WorkerLimits(**_of_spec(entry.spec), max_queue=4),  # type: ignore[arg-type]
            Shared(self.metrics, CoreShare(1)),
            owner,
        )
        self.workers.append(made)
        self.owners.append(owner)
        return made


@pytest.fixture
async def kit(journal: Journal) -> AsyncIterator[PoolKit]:
    made = PoolKit()
    yield made
    for pool in made.pools:
        await pool.close()


@pytest.fixture
def may_load(journal: Journal) -> Path:
    """Make this file and `slow-to-load` loads."""
    return journal.path.with_name("may_load")
