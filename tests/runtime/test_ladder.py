"""One ladder for every want of memory and every broken device: each way once, and the answer says so."""

from __future__ import annotations

import asyncio
from collections import Counter

import psutil
import pytest

from conftest import Journal
from fixtures.faulty_models import GPU_FAULTS, BrokenLoad, FaultyBatch, KilledLoad
from fixtures.waiting import until
from llm_vision.errors import InsufficientMemory, ModelLoadFailed, WorkerCrashed
from llm_vision.models.base import Quantization
from llm_vision.runtime.placement.placements import Placement
from llm_vision.runtime.worker.limits import WorkerState
from llm_vision.runtime.worker.worker import Worker

from .conftest import make_worker, pid_of, request

WAYS = (Placement("cuda:0"), Placement("cuda:0", Quantization.FOUR), Placement("cpu", Quantization.FOUR))


@pytest.mark.parametrize("fault", GPU_FAULTS)
async def test_promise_35_a_gpu_that_does_not_work_means_the_cpu(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("HF_TEST_GPU_FAULT", fault)
    worker = make_worker(ways=WAYS)
    await worker.start()
    try:
        result = await worker.infer(request(mark="answered"))
        assert (result.value["text"], result.device) == ("answered", "cpu")
        assert result.device_notice is not None
        assert result.device_notice.endswith("on cuda:0 in 4 bits, so it runs on the CPU in 4 bits")
        assert journal.count("load") == len(WAYS), "each way is tried once"
    finally:
        await worker.stop()


async def test_without_another_way_a_broken_gpu_is_a_failed_load(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TEST_GPU_FAULT", "driver mismatch")
    with pytest.raises(ModelLoadFailed) as failure:
        await make_worker(ways=WAYS[:1]).start()
    assert "insufficient for" not in failure.value.detail


async def test_weights_that_are_wrong_are_not_tried_in_other_ways(journal: Journal) -> None:
    with pytest.raises(ModelLoadFailed):
        await make_worker(BrokenLoad, ways=[Placement("cpu"), Placement("cpu", Quantization.FOUR)]).start()
    assert journal.count("load") == 1


async def test_promise_13_requests_that_do_not_fit_are_answered_in_the_next_way_they_fit(journal: Journal) -> None:
    worker = make_worker(ways=WAYS)
    await worker.start()
    try:
        names = [f"{way.device} {way.quantization}" for way in WAYS]
        results = []
        for number in range(100):
            ways = names[min(number // 34, 2) :]
            results.append(await worker.infer(request("fit", mark=str(number), ways=ways)))
        assert [result.value["text"] for result in results] == [str(number) for number in range(100)]
        assert [result.value["way"] for result in results] == [names[number // 34] for number in range(100)]
        assert results[0].device_notice is None
        assert results[99].device_notice
        tries = Counter(journal.details("try"))
        assert max(tries.values()) <= 2, "one more try a way at most, after memory was freed"
    finally:
        await worker.stop()


async def test_promise_13_many_at_once_that_do_not_fit_are_all_answered(journal: Journal) -> None:
    worker = make_worker(ways=WAYS)
    await worker.start()
    try:
        last = f"{WAYS[-1].device} {WAYS[-1].quantization}"
        requests = [worker.infer(request("fit", mark=str(number), ways=[last])) for number in range(20)]
        results = await asyncio.gather(*requests)
        assert [result.value["text"] for result in results] == [str(number) for number in range(20)]
        assert {result.value["way"] for result in results} == {last}
    finally:
        await worker.stop()


async def test_a_request_that_fits_nowhere_fails_and_the_last_way_goes_on(journal: Journal) -> None:
    worker = make_worker(ways=WAYS)
    await worker.start()
    try:
        with pytest.raises(InsufficientMemory):
            await worker.infer(request("fit", ways=[]))
        pid = pid_of(worker)
        with pytest.raises(InsufficientMemory):
            await worker.infer(request("fit", ways=[]))
        assert worker.placement == WAYS[-1]
        assert (await worker.infer(request(mark="good"))).value["pid"] == pid
    finally:
        await worker.stop()


async def test_a_process_that_the_system_kills_while_it_loads_had_too_little_memory(journal: Journal) -> None:
    worker = make_worker(KilledLoad, ways=[Placement("cpu"), Placement("cpu", Quantization.FOUR)])
    await worker.start()
    try:
        assert worker.placement.quantization is Quantization.FOUR
        assert worker.device_notice == "there was too little memory on the CPU, so it runs on the CPU in 4 bits"
    finally:
        await worker.stop()


async def test_promise_14_a_lost_device_gets_a_new_process(journal: Journal) -> None:
    worker, other = make_worker(ways=[Placement("cuda:0")]), make_worker(FaultyBatch)
    await worker.start()
    await other.start()
    try:
        pid, other_pid = pid_of(worker), pid_of(other)
        with pytest.raises(WorkerCrashed):
            await worker.infer(request("lose_device"))
        await until(lambda: worker.is_recovering or journal.count("load") == 3)
        await until(lambda: worker.state is WorkerState.READY and pid_of(worker) != pid)
        assert not worker.is_recovering
        assert (await worker.infer(request(mark="again"))).value["text"] == "again"
        assert (await other.infer(request())).value["pid"] == other_pid
    finally:
        await worker.stop()
        await other.stop()


async def test_the_way_that_is_left_keeps_its_memory_to_itself(journal: Journal) -> None:
    """Only one process of a model is there at any time: never a second copy."""
    worker = make_worker(ways=WAYS)
    await worker.start()
    try:
        await worker.infer(request("fit", ways=["cpu 4bit"]))
        assert _alive(worker) == 1
    finally:
        await worker.stop()


def _alive(worker: Worker) -> int:
    children = psutil.Process().children()
    return sum(f'"{worker.model_id}"' in " ".join(child.cmdline()) for child in children)
