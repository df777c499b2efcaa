"""A volume that answers slowly keeps nobody waiting but those who need it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Journal
from fixtures.tiny_models import MANGA_OCR, copied
from fixtures.waiting import PATIENCE, until
from llm_vision.errors import ModelLoadFailed
from llm_vision.metrics import Metrics
from llm_vision.models.base import ModelSpec, Volume, Weights
from llm_vision.models.families.manga_ocr.model import MangaOcr
from llm_vision.models.registry import CatalogEntry
from llm_vision.runtime.placement.placements import DevicePolicy
from llm_vision.runtime.pool.pool import ModelPool
from llm_vision.runtime.weights.store import LocatedWeights, WeightStore
from llm_vision.runtime.worker.factory import WorkerFactory
from llm_vision.runtime.worker.limits import WorkerLimits
from llm_vision.runtime.worker.owner import Owner
from llm_vision.runtime.worker.shared import CoreShare, Shared
from runtime.conftest import PoolKit


class Beside:
    """Waits inside a look at a volume until the event loop has run in between."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.looks = 0

    def look(self) -> None:
        has_run = threading.Event()
        self._loop.call_soon_threadsafe(has_run.set)
        assert has_run.wait(PATIENCE), "the event loop stood still"
        self.looks += 1


class SlowStore(WeightStore):
    """Takes its time for each look."""

    beside: Beside

    def folder(self, weights: Weights) -> Path | None:
        self.beside.look()
        return super().folder(weights)


class SlowFiles(PoolKit):
    """Takes its time to say which files a model has."""

    def __init__(self) -> None:
        super().__init__()
        self.beside = Beside()

    def files(self, spec: ModelSpec) -> Iterable[Path]:
        self.beside.look()
        return super().files(spec)


async def test_where_a_model_can_run_and_what_it_loads_is_looked_up_beside_other_work(tmp_path: Path) -> None:
    copied(MANGA_OCR, tmp_path / "manga-ocr-base")
    store = SlowStore({Volume.MANGA_OCR: tmp_path})
    store.beside = Beside()
    factory = WorkerFactory(
        {None: DevicePolicy("cpu")},
        tuple,
        1,
        WorkerLimits(max_batch=1),
        Shared(Metrics(), CoreShare(1)),
        store,
        {},
    )
    entry = CatalogEntry.of(MangaOcr)
    weights = await factory.locate(replace(entry.spec, quantizable=frozenset({"cpu"})))
    placements = await factory.placements(entry.spec, weights)
    factory.make(entry, weights, placements, Owner())
    assert store.beside.looks > 0


async def test_the_files_of_a_model_that_does_not_load_are_looked_at_beside_other_work(journal: Journal) -> None:
    kit = SlowFiles()
    pool = kit.pool()
    try:
        for _ in range(2):
            with pytest.raises(ModelLoadFailed):
                await pool.load("broken-load")
            with pytest.raises(ModelLoadFailed):
                async with pool.lease("broken-load"):
                    pass
        assert journal.count("load") == 2, "only the loads that were asked for in so many words"
        journal.path.with_name("repaired").touch()
        async with pool.lease("broken-load"):
            pass
        assert kit.beside.looks >= 3
    finally:
        await pool.close()


class HungVolume(PoolKit):
    """The volume of `broken-load` does not answer until it is told to: where its files are, and then what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.may_locate = asyncio.Event()
        self.may_look = threading.Event()
        self.is_looked_at = threading.Event()

    async def locate(self, spec: ModelSpec) -> LocatedWeights:
        if spec.model_id == "broken-load":
            self.is_asked.set()
            await self.may_locate.wait()
        return await super().locate(spec)

    def files(self, spec: ModelSpec) -> Iterable[Path]:
        self.is_looked_at.set()
        assert self.may_look.wait(PATIENCE)
        return super().files(spec)


async def load_and_unload(pool: ModelPool, model_id: str) -> None:
    """Without a wait for anybody else."""
    async with asyncio.timeout(PATIENCE):
        await pool.load(model_id)
        assert await pool.unload(model_id)


async def test_a_volume_that_hangs_keeps_no_other_model_from_loads_and_unloads(journal: Journal) -> None:
    kit = HungVolume()
    pool = kit.pool()
    try:
        loading = asyncio.create_task(pool.load("broken-load"))
        await kit.is_asked.wait()
        await load_and_unload(pool, "second")
        kit.may_locate.set()
        await until(kit.is_looked_at.is_set)  # the load has failed
        await load_and_unload(pool, "second")
        kit.may_look.set()
        with pytest.raises(ModelLoadFailed):
            await loading
    finally:
        kit.may_look.set()
        await pool.close()
