"""The pool on real processes: which models are in memory. The traps' numbers are design's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from conftest import Journal
from fixtures.processes import started_here, strays
from fixtures.waiting import until
from llm_vision.admission.places import admit_everywhere
from llm_vision.errors import InsufficientMemory, ModelInUse, ModelLoadFailed, ModelNotFound, QueueFull, ShuttingDown
from llm_vision.models.base import ModelSpec
from llm_vision.runtime.pool.pool import ModelPool
from runtime.conftest import PoolKit, pid_of, request


async def answer(pool: ModelPool, model_id: str, mark: str = "") -> str:
    async with pool.lease(model_id) as worker:
        return str((await worker.infer(request(mark=mark))).value["text"])


def state_of(pool: ModelPool, model_id: str) -> str:
    return next(status.state for status in pool.status() if status.spec.model_id == model_id)


def leases_of(pool: ModelPool, model_id: str) -> int:
    return next(status.leases for status in pool.status() if status.spec.model_id == model_id)


async def let_others_run() -> None:
    """Let every task go on until it waits for another process or for us."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_nothing_is_loaded_before_it_is_used(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool()
    assert {status.state for status in pool.status()} == {"not_loaded"}
    assert await answer(pool, "faulty", "first") == "first"
    assert journal.details("load") == ["faulty"]


async def test_trap_1_a_client_that_hangs_up_during_a_load_does_not_cause_a_second_copy(
    kit: PoolKit, journal: Journal, may_load: Path
) -> None:
    pool = kit.pool()
    first = asyncio.create_task(answer(pool, "slow-to-load"))
    await until(lambda: journal.details("load"))
    first.cancel()
    await until(first.done)
    second = asyncio.create_task(answer(pool, "slow-to-load", "second"))
    await until(lambda: leases_of(pool, "slow-to-load") == 1)
    may_load.touch()
    assert await second == "second"
    assert journal.count("load") == 1
    assert len(kit.workers) == 1


async def test_trap_2_a_request_during_an_unload_waits_for_it_and_loads_again(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool(keep_alive=10)
    await answer(pool, "faulty")
    old = kit.workers[0]
    is_stopping, may_stop = asyncio.Event(), asyncio.Event()
    original_stop = old.stop

    async def slow_stop(grace: float = 5.0) -> None:
        is_stopping.set()
        await may_stop.wait()
        await original_stop(grace)

    old.stop = slow_stop  # type: ignore[method-assign]
    kit.clock.now += 11
    expiring = asyncio.create_task(pool.expire())
    await is_stopping.wait()
    again = asyncio.create_task(answer(pool, "faulty", "again"))
    await until(lambda: state_of(pool, "faulty") == "loading")
    await let_others_run()
    assert kit.workers == [old], "two copies were in memory"
    may_stop.set()
    assert await again == "again"
    await expiring
    assert len(kit.workers) == 2


async def test_trap_2_a_lease_that_came_first_stops_the_unload(kit: PoolKit, may_load: Path, journal: Journal) -> None:
    pool = kit.pool(keep_alive=10)
    await answer(pool, "faulty")
    loading = asyncio.create_task(pool.load("slow-to-load"))  # holds the lock that `expire` needs
    await until(lambda: "slow-to-load" in journal.details("load"))
    kit.clock.now += 11
    expiring = asyncio.create_task(pool.expire())
    await let_others_run()
    async with pool.lease("faulty") as worker:
        may_load.touch()
        await expiring
        assert (await worker.infer(request(mark="alive"))).value["text"] == "alive"
    await loading


async def test_trap_3_a_refused_unload_forgets_nothing(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool()
    async with pool.lease("faulty") as worker:
        with pytest.raises(ModelInUse):
            await pool.unload("faulty")
        assert (await worker.infer(request(mark="still"))).value["text"] == "still"
    assert await answer(pool, "faulty") == ""
    assert journal.count("load") == 1
    assert await pool.unload("faulty") is True
    assert await pool.unload("faulty") is False


async def test_trap_8_first_requests_at_once_load_once(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool()
    answers = await asyncio.gather(*(answer(pool, "faulty", str(number)) for number in range(4)))
    assert answers == ["0", "1", "2", "3"]
    assert journal.count("load") == 1


async def test_trap_9_a_failed_load_is_not_tried_again_at_once(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool(failed_load_seconds=30)
    for _ in range(5):
        with pytest.raises(ModelLoadFailed) as failure:
            await answer(pool, "broken-load")
        assert failure.value.retry_after
    assert journal.count("load") == 1
    assert state_of(pool, "broken-load") == "failed"
    kit.clock.now += 31
    with pytest.raises(ModelLoadFailed):
        await answer(pool, "broken-load")
    assert journal.count("load") == 2


async def test_files_of_a_failed_load_are_not_looked_at_after_its_pause(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool(failed_load_seconds=30)
    looks = []
    files = kit.files

    def count_looks(spec: ModelSpec) -> Iterable[Path]:
        looks.append(spec.model_id)
        return files(spec)

    kit.files = count_looks  # type: ignore[method-assign]
    for seconds, count in ((0, 1), (31, 2), (1, 3)):  # one after each failure, one in a pause
        kit.clock.now += seconds
        with pytest.raises(ModelLoadFailed):
            await answer(pool, "broken-load")
        assert len(looks) == count
    assert journal.count("load") == 2


async def test_trap_9_an_explicit_load_tries_at_once_and_heals(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool()
    with pytest.raises(ModelLoadFailed):
        await answer(pool, "broken-load")
    journal.path.with_name("repaired").touch()
    await pool.load("broken-load")
    assert await answer(pool, "broken-load", "healed") == "healed"
    assert state_of(pool, "broken-load") == "ready"


async def test_trap_10_a_leased_model_is_never_evicted(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool(max_loaded=1)
    async with pool.lease("faulty") as worker:
        with pytest.raises(InsufficientMemory):
            await answer(pool, "second")
        assert (await worker.infer(request(mark="still"))).value["text"] == "still"
    assert await answer(pool, "second", "now") == "now"
    assert state_of(pool, "faulty") == "not_loaded"


async def test_a_load_waits_for_a_busy_model_to_become_idle(kit: PoolKit, journal: Journal) -> None:
    pool = kit.pool(max_loaded=1, room_seconds=10)
    async with pool.lease("faulty"):
        second = asyncio.create_task(answer(pool, "second", "room"))
        await until(lambda: state_of(pool, "second") == "loading")
        await let_others_run()
        assert journal.details("load") == ["faulty"]
    assert await second == "room"


async def test_the_longest_idle_model_makes_room(kit: PoolKit) -> None:
    pool = kit.pool(max_loaded=2)
    await answer(pool, "faulty")
    kit.clock.now += 1
    await answer(pool, "second")
    kit.clock.now += 1
    await answer(pool, "faulty")
    await answer(pool, "faulty-batch")
    assert state_of(pool, "second") == "not_loaded"
    assert state_of(pool, "faulty") == "ready"


async def test_models_make_room_by_memory_too(kit: PoolKit) -> None:
    pool = kit.pool(memory_bytes=100 << 20)
    await answer(pool, "faulty")
    await answer(pool, "second")
    assert state_of(pool, "faulty") == "not_loaded"


async def test_a_model_larger_than_the_limit_is_refused_without_unloading_others(kit: PoolKit) -> None:
    pool = kit.pool(memory_bytes=10 << 20)
    with pytest.raises(InsufficientMemory):
        await answer(pool, "faulty")
    assert not kit.workers


async def test_idle_models_are_unloaded_and_their_process_ends(kit: PoolKit) -> None:
    pool = kit.pool(keep_alive=10)
    await answer(pool, "faulty")
    pid = pid_of(kit.workers[0]) or 0
    kit.clock.now += 9
    await pool.expire()
    assert psutil.pid_exists(pid)
    kit.clock.now += 1
    await pool.expire()
    assert not psutil.pid_exists(pid)


async def test_keep_alive_of_a_load_holds_until_the_model_is_unloaded(kit: PoolKit) -> None:
    pool = kit.pool(keep_alive=10)
    await pool.load("faulty", keep_alive=-1)
    kit.clock.now += 1_000_000
    await pool.expire()
    assert state_of(pool, "faulty") == "ready"
    await pool.unload("faulty")
    await pool.load("faulty")
    kit.clock.now += 11
    await pool.expire()
    assert state_of(pool, "faulty") == "not_loaded"


async def test_keep_alive_of_nothing_unloads_after_the_request(kit: PoolKit) -> None:
    pool = kit.pool(keep_alive=0)
    expirer = asyncio.create_task(pool.expire_forever(interval=60))
    assert await answer(pool, "faulty", "once") == "once"
    await until(lambda: state_of(pool, "faulty") == "not_loaded")
    expirer.cancel()


async def test_places_are_as_many_as_batch_and_queue(kit: PoolKit) -> None:
    places = [kit.pool(max_queue=2).places("second")]
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(admit_everywhere(places, "anyone"))
        with pytest.raises(QueueFull):
            stack.enter_context(admit_everywhere(places, "anyone"))


async def test_unknown_models_are_not_found(kit: PoolKit) -> None:
    pool = kit.pool()
    with pytest.raises(ModelNotFound):
        await answer(pool, "../../etc/passwd")
    with pytest.raises(ModelNotFound):
        await pool.unload("nothing")


async def test_a_closed_pool_loads_nothing_and_leaves_no_process(
    kit: PoolKit, journal: Journal, may_load: Path
) -> None:
    pool, before = kit.pool(), started_here()
    waiting = asyncio.create_task(answer(pool, "slow-to-load"))
    await until(lambda: journal.details("load"))
    await pool.close()
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await answer(pool, "faulty")
    assert not strays(before)
