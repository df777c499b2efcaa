"""A model that goes on in its next placement finds room there: idle models are unloaded for it, as for a load."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from conftest import Journal
from fixtures.waiting import until
from llm_vision.errors import InsufficientMemory
from llm_vision.models.base import Quantization
from llm_vision.runtime.placement.placements import Placement, Placements
from llm_vision.runtime.pool.pool import ModelPool
from runtime.conftest import PoolKit, request

GIB = 1 << 30
LIMIT = 100 * GIB
ON_GPU, ON_CPU = Placement("cuda:0", memory_bytes=2 * GIB), Placement("cpu", memory_bytes=90 * GIB)


@pytest.fixture
def moving(kit: PoolKit) -> PoolKit:
    """`faulty` needs little on its GPU and nearly everything on the CPU; `second` and others need a half."""
    kit.placed["faulty"] = Placements((ON_GPU, ON_CPU))
    for other in ("second", "one-by-one"):
        kit.placed[other] = Placements((Placement("cpu", memory_bytes=40 * GIB),))
    return kit


def state_of(pool: ModelPool, model_id: str) -> str:
    return next(status.state for status in pool.status() if status.spec.model_id == model_id)


async def outgrow_gpu(pool: ModelPool, mark: str = "answered") -> str:
    """Ask `faulty` for what does not fit onto its GPU."""
    async with pool.lease("faulty") as worker:
        result = await worker.infer(request("out_of_memory_on_gpu", mark=mark))
        return f"{result.value['text']} on {result.device}"


async def test_idle_models_make_room_for_a_model_that_moves(moving: PoolKit) -> None:
    pool = moving.pool(memory_bytes=LIMIT)
    await pool.load("faulty")
    for other in ("second", "one-by-one"):
        moving.clock.now += 1
        await pool.load(other)
    assert await outgrow_gpu(pool) == "answered on cpu"
    assert (state_of(pool, "second"), state_of(pool, "one-by-one")) == ("not_loaded", "not_loaded")


async def test_a_model_that_moves_unloads_no_more_than_it_must(moving: PoolKit) -> None:
    moving.placed["faulty"] = Placements((ON_GPU, Placement("cpu", memory_bytes=60 * GIB)))
    pool = moving.pool(memory_bytes=LIMIT)
    await pool.load("faulty")
    for other in ("second", "one-by-one"):
        moving.clock.now += 1
        await pool.load(other)
    assert await outgrow_gpu(pool) == "answered on cpu"
    assert (state_of(pool, "second"), state_of(pool, "one-by-one")) == ("not_loaded", "ready")


async def test_idle_models_make_room_for_the_next_placement_of_a_load(kit: PoolKit, journal: Journal) -> None:
    kit.placed["killed-load"] = Placements(
        (Placement("cpu", memory_bytes=2 * GIB), Placement("cpu", Quantization.FOUR, 90 * GIB))
    )
    kit.placed["second"] = Placements((Placement("cpu", memory_bytes=40 * GIB),))
    pool = kit.pool(memory_bytes=LIMIT)
    await pool.load("second")
    await pool.load("killed-load")
    assert (state_of(pool, "second"), state_of(pool, "killed-load")) == ("not_loaded", "ready")


async def test_a_model_that_moves_waits_for_a_busy_one(moving: PoolKit) -> None:
    pool = moving.pool(memory_bytes=LIMIT, room_seconds=60)
    async with pool.lease("second"):
        asking = asyncio.create_task(outgrow_gpu(pool))
        await until(lambda: state_of(pool, "faulty") == "loading")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.3)
    assert await asking == "answered on cpu"


async def test_patience_for_room_is_not_spent_while_another_model_loads(moving: PoolKit, may_load: Path) -> None:
    pool = moving.pool(memory_bytes=LIMIT, room_seconds=2)
    async with pool.lease("second"):
        await pool.load("faulty")
        other = asyncio.create_task(pool.load("slow-to-load"))
        await until(lambda: len(moving.workers) == 3)
        asking = asyncio.create_task(outgrow_gpu(pool))
        await until(lambda: state_of(pool, "faulty") == "loading")
        await asyncio.sleep(2.2)
        may_load.touch()
        await other
        await asyncio.sleep(0.1)
    assert await asking == "answered on cpu"


@pytest.mark.parametrize("model_id", ["faulty", "killed-load"])
async def test_a_model_for_whose_next_placement_there_is_no_room_takes_the_one_after_it(
    moving: PoolKit, model_id: str
) -> None:
    small = Placement("cpu", Quantization.FOUR, 50 * GIB)
    moving.placed["faulty"] = Placements((ON_GPU, ON_CPU, small))
    moving.placed["killed-load"] = Placements((Placement("cpu", memory_bytes=2 * GIB), ON_CPU, small))
    pool = moving.pool(memory_bytes=LIMIT)
    async with pool.lease("second") as second, pool.lease(model_id) as worker:
        await worker.infer(request("out_of_memory_on_gpu"))
        assert worker.placement == small
        assert worker.device_notice == "there was too little memory on the CPU, so it runs on the CPU in 4 bits"
        assert (await second.infer(request(mark="still"))).value["text"] == "still"


async def test_a_model_that_is_being_unloaded_does_not_make_room_beside_who_unloads_it(moving: PoolKit) -> None:
    pool = moving.pool(memory_bytes=LIMIT)
    await pool.load("faulty")
    await pool.load("second")
    is_stopping, may_stop = asyncio.Event(), asyncio.Event()
    stop = moving.workers[0].stop

    async def stop_later() -> None:
        is_stopping.set()
        await may_stop.wait()
        await stop()

    moving.workers[0].stop = stop_later  # type: ignore[method-assign,assignment]
    unloading = asyncio.create_task(pool.unload("faulty"))
    await is_stopping.wait()
    moving_on = asyncio.create_task(moving.owners[0].make_room(ON_CPU))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    states = state_of(pool, "faulty"), state_of(pool, "second")
    moving_on.cancel()
    may_stop.set()
    await unloading
    assert states == ("not_loaded", "ready")


async def test_a_model_that_finds_no_room_says_so_and_loads_anew_later(moving: PoolKit) -> None:
    pool = moving.pool(memory_bytes=LIMIT)
    async with pool.lease("second") as second:
        with pytest.raises(InsufficientMemory, match="faulty needs 92160 MiB and the models in memory are all in use"):
            await outgrow_gpu(pool)
        assert (await second.infer(request(mark="still"))).value["text"] == "still"
        assert state_of(pool, "faulty") == "failed"
        async with pool.lease("one-by-one"):
            pass
    await pool.load("faulty")
    assert await outgrow_gpu(pool, "now") == "now on cpu"


async def test_a_load_that_waits_for_room_keeps_no_model_from_moving(moving: PoolKit) -> None:
    moving.placed["second"] = Placements((Placement("cpu", memory_bytes=99 * GIB),))
    pool = moving.pool(memory_bytes=LIMIT, room_seconds=60)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool.lease("faulty"))
        loading = asyncio.create_task(pool.load("second"))
        await until(lambda: state_of(pool, "second") == "loading")
        await asyncio.sleep(0.1)
        assert await asyncio.wait_for(outgrow_gpu(pool), 50) == "answered on cpu"
        assert not loading.done()
    await loading
    assert state_of(pool, "faulty") == "not_loaded"
