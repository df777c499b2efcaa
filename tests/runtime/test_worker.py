"""A worker on a real process: batches, cancellation, crashes, memory. The traps' numbers are design's."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from conftest import Journal
from fixtures.fake_openai import FakeOpenAI, stalls
from fixtures.faulty_models import BrokenLoad, FaultyBatch
from fixtures.waiting import until
from llm_vision.errors import (
    ContextLengthExceeded,
    InferenceFailed,
    InsufficientMemory,
    ModelLoadFailed,
    QueueFull,
    UpstreamUnavailable,
    WorkerCrashed,
)
from llm_vision.metrics import Metrics
from llm_vision.models.families.upstream.model import entry_of
from llm_vision.runtime.placement.device import find_gpus
from llm_vision.runtime.placement.placements import DevicePolicy, Placement
from llm_vision.runtime.weights.store import WeightStore
from llm_vision.runtime.work import WorkRequest
from llm_vision.runtime.worker.factory import WorkerFactory
from llm_vision.runtime.worker.limits import WorkerLimits, WorkerState
from llm_vision.runtime.worker.owner import Owner
from llm_vision.runtime.worker.shared import CoreShare, Shared
from llm_vision.runtime.worker.worker import Worker
from runtime.conftest import make_worker, picture, pid_of, request


async def test_a_worker_is_another_process_and_answers_from_there(worker: Worker) -> None:
    result = await worker.infer(request(mark="hello"))
    assert result.value["text"] == "hello"
    assert result.value["pid"] == pid_of(worker) != os.getpid()


async def test_pictures_arrive_with_their_pixels(worker: Worker) -> None:
    results = await asyncio.gather(
        *(worker.infer(WorkRequest({"do": "echo"}, (picture(value),))) for value in range(8))
    )
    assert [result.value["mean"] for result in results] == [float(value) for value in range(8)]


async def test_requests_that_wait_together_run_in_one_batch(worker: Worker, journal: Journal, tmp_path: Path) -> None:
    gate = tmp_path / "go"
    first = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
    await until(lambda: journal.details("started"))
    others = [asyncio.create_task(worker.infer(request(mark=str(number)))) for number in range(4)]
    await until(lambda: worker.queue_length == 4)
    gate.touch()
    results = await asyncio.gather(first, *others)
    assert [result.batch_size for result in results] == [1, 4, 4, 4, 4]
    assert [result.value["text"] for result in results[1:]] == ["0", "1", "2", "3"]


async def test_a_batch_waits_for_a_request_that_is_still_being_decoded(journal: Journal) -> None:
    on_its_way = 1
    worker = make_worker(arriving=lambda: on_its_way, batch_wait=5.0)
    await worker.start()
    try:
        first = asyncio.create_task(worker.infer(request()))
        await until(lambda: worker.queue_length == 1)
        on_its_way = 0
        second = await worker.infer(request())
        assert (await first).batch_size == second.batch_size == 2
    finally:
        await worker.stop()


async def test_trap_4_a_failed_batch_answers_everybody_and_the_worker_lives(worker: Worker) -> None:
    pid = pid_of(worker)
    with pytest.raises(InferenceFailed) as failure:
        await worker.infer(request("raise"))
    assert "secret" not in failure.value.detail
    after = await worker.infer(request(mark="after"))
    assert (after.value["text"], after.value["pid"]) == ("after", pid)


async def test_an_exception_in_an_items_place_fails_that_item_alone(
    worker: Worker, journal: Journal, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    first = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
    await until(lambda: journal.details("started"))
    bad = asyncio.create_task(worker.infer(request("fail_alone")))
    good = asyncio.create_task(worker.infer(request(mark="good")))
    await until(lambda: worker.queue_length == 2)
    gate.touch()
    assert (await good).value["text"] == "good"
    assert (await good).batch_size == 2
    with pytest.raises(InferenceFailed):
        await bad
    await first


async def test_trap_5_a_wrong_number_of_results_fails_the_batch(
    worker: Worker, journal: Journal, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    first = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
    await until(lambda: journal.details("started"))
    batch = [asyncio.create_task(worker.infer(request(do, mark=do))) for do in ("echo", "drop_one", "echo")]
    await until(lambda: worker.queue_length == 3)
    gate.touch()
    await first
    outcomes = await asyncio.gather(*batch, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InferenceFailed] * 3


@pytest.mark.parametrize("do", ["nan", "huge"])
async def test_a_result_that_cannot_travel_fails_its_item(worker: Worker, do: str) -> None:
    with pytest.raises(InferenceFailed):
        await worker.infer(request(do))
    assert (await worker.infer(request(mark="after"))).value["text"] == "after"


async def test_trap_6_the_queue_is_bounded(journal: Journal, tmp_path: Path) -> None:
    gate = tmp_path / "go"
    worker = make_worker(max_batch=1, max_queue=2)
    await worker.start()
    try:
        running = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
        await until(lambda: journal.details("started"))
        waiting = [asyncio.create_task(worker.infer(request(mark=str(number)))) for number in range(3)]
        await until(lambda: worker.queue_length == 3)
        with pytest.raises(QueueFull) as refusal:
            await worker.infer(request())
        assert refusal.value.retry_after
        gate.touch()
        assert [result.value["text"] for result in await asyncio.gather(*waiting)] == ["0", "1", "2"]
        await running
    finally:
        await worker.stop()


async def test_a_request_does_not_wait_longer_than_it_may(journal: Journal, tmp_path: Path) -> None:
    gate = tmp_path / "go"
    worker = make_worker(max_batch=1, queue_seconds=0.05)
    await worker.start()
    try:
        running = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
        await until(lambda: journal.details("started"))
        with pytest.raises(QueueFull):
            await worker.infer(request())
        gate.touch()
        assert (await running).value["text"] == "first"
    finally:
        await worker.stop()


async def test_trap_7_a_cancelled_request_in_the_queue_never_runs(
    worker: Worker, journal: Journal, tmp_path: Path
) -> None:
    gate = tmp_path / "go"
    first = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
    await until(lambda: journal.details("started"))
    left = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="left")))
    await until(lambda: worker.queue_length == 1)
    left.cancel()
    await until(lambda: worker.queue_length == 0)
    gate.touch()
    await first
    await worker.infer(request())
    assert journal.details("started") == ["first"]


async def test_trap_7_a_running_request_stops_when_its_client_leaves(worker: Worker, journal: Journal) -> None:
    pid = pid_of(worker)
    tokens: list[str] = []
    endless = asyncio.create_task(
        worker.infer(request("tokens", count=10_000_000), on_chunk=lambda chunk: tokens.append(chunk.text))
    )
    await until(lambda: len(tokens) >= 3)
    endless.cancel()
    await until(lambda: journal.details("tokens"))
    assert (await worker.infer(request(mark="next"))).value["pid"] == pid


async def test_tokens_arrive_in_order_before_the_result(worker: Worker) -> None:
    tokens: list[str] = []
    result = await worker.infer(request("tokens", count=500), on_chunk=lambda chunk: tokens.append(chunk.text))
    assert tokens == [f"{number} " for number in range(500)]
    assert result.value["sent"] == 500


async def test_a_hung_batch_that_nobody_waits_for_is_ended(worker: Worker, journal: Journal) -> None:
    pid = pid_of(worker)
    hung = asyncio.create_task(worker.infer(request("hang")))
    await until(lambda: journal.details("started"))
    hung.cancel()
    assert (await worker.infer(request(mark="next"))).value["pid"] != pid


async def test_one_client_of_several_that_leaves_does_not_end_the_batch(journal: Journal, tmp_path: Path) -> None:
    worker = make_worker(abandoned_grace=0)
    await worker.start()
    pid, gate, go = pid_of(worker), tmp_path / "first", tmp_path / "go"
    first = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
    await until(lambda: journal.details("started"))
    stays = asyncio.create_task(worker.infer(request("wait_for", file=str(go), mark="stays")))
    leaves = asyncio.create_task(worker.infer(request("wait_for", file=str(go), mark="leaves")))
    await until(lambda: worker.queue_length == 2)
    gate.touch()
    await until(lambda: "stays" in journal.details("started"))
    leaves.cancel()
    await until(leaves.done)
    go.touch()
    assert (await stays).value["pid"] == pid
    await first
    await worker.stop()


@pytest.mark.parametrize("do", ["kill", "segfault"])
async def test_trap_12_a_crash_answers_its_requests_and_the_worker_starts_again(
    worker: Worker, journal: Journal, do: str
) -> None:
    pid = pid_of(worker)
    with pytest.raises(WorkerCrashed):
        await worker.infer(request(do))
    result = await worker.infer(request(mark="after"))
    assert result.value["text"] == "after"
    assert result.value["pid"] != pid
    assert journal.count("load") == 2


async def test_trap_12_requests_that_waited_during_a_crash_are_served(worker: Worker, journal: Journal) -> None:
    crash = asyncio.create_task(worker.infer(request("kill")))
    await asyncio.sleep(0)
    waited = [asyncio.create_task(worker.infer(request(mark=str(number)))) for number in range(6)]
    outcomes = await asyncio.gather(crash, *waited, return_exceptions=True)
    served = [outcome.value["text"] for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert served[-2:] == ["4", "5"]
    assert {type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)} == {WorkerCrashed}


async def test_trap_12_other_workers_notice_nothing(worker: Worker, tmp_path: Path) -> None:
    other = make_worker()
    await other.start()
    try:
        gate, pid = tmp_path / "go", (await other.infer(request())).value["pid"]
        running = asyncio.create_task(other.infer(request("wait_for", file=str(gate), mark="other")))
        with pytest.raises(WorkerCrashed):
            await worker.infer(request("kill"))
        gate.touch()
        assert (await running).value["pid"] == pid
    finally:
        await other.stop()


async def test_trap_13_a_batch_that_does_not_fit_is_halved(journal: Journal, tmp_path: Path) -> None:
    worker = make_worker(FaultyBatch)
    await worker.start()
    try:
        pid, gate = pid_of(worker), tmp_path / "go"
        first = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
        await until(lambda: journal.details("started"))
        batch = [asyncio.create_task(worker.infer(request(mark=str(number)))) for number in range(4)]
        await until(lambda: worker.queue_length == 4)
        gate.touch()
        assert [result.value["text"] for result in await asyncio.gather(*batch)] == ["0", "1", "2", "3"]
        assert (await first).value["pid"] == pid_of(worker) == pid
        assert journal.details("batch") == ["1", "4", "2", "1", "1", "2", "1", "1"]
    finally:
        await worker.stop()


async def test_trap_13_gpu_memory_that_runs_out_falls_back_to_the_cpu_and_says_so(journal: Journal) -> None:
    worker = make_worker(ways=[Placement("cuda:0"), Placement("cpu")])
    await worker.start()
    try:
        assert (await worker.infer(request())).device_notice is None
        result = await worker.infer(request("out_of_memory_on_gpu", mark="fits"))
        assert result.value["text"] == "fits"
        assert result.value["device"] == result.device == "cpu"
        assert result.device_notice
        assert journal.count("load") == 2, "once in each placement"
    finally:
        await worker.stop()


async def test_trap_13_without_fallback_the_request_fails_and_the_process_lives(journal: Journal) -> None:
    worker = make_worker(ways=[Placement("cuda:0")])
    await worker.start()
    try:
        pid = pid_of(worker)
        with pytest.raises(InsufficientMemory):
            await worker.infer(request("out_of_memory_on_gpu"))
        assert (await worker.infer(request())).value["pid"] == pid
    finally:
        await worker.stop()


async def test_memory_that_runs_out_on_the_cpu_fails_the_request_only(worker: Worker) -> None:
    pid = pid_of(worker)
    with pytest.raises(InsufficientMemory):
        await worker.infer(request("out_of_memory"))
    assert (await worker.infer(request())).value["pid"] == pid


async def test_a_model_that_does_not_load_says_so_without_its_paths(journal: Journal) -> None:
    worker = make_worker(BrokenLoad)
    with pytest.raises(ModelLoadFailed) as failure:
        await worker.start()
    assert "secret" not in failure.value.detail
    assert pid_of(worker) is None


async def test_a_worker_whose_restart_fails_tells_its_owner(journal: Journal) -> None:
    repaired = journal.path.with_name("repaired")
    repaired.touch()
    failures: list[Exception] = []
    worker = make_worker(BrokenLoad, on_failed=failures.append)
    await worker.start()
    repaired.unlink()
    with pytest.raises(WorkerCrashed):
        await worker.infer(request("kill"))
    await until(lambda: failures)
    assert worker.state is WorkerState.FAILED
    with pytest.raises(WorkerCrashed):
        await worker.infer(request())
    await worker.stop()


async def test_stopping_ends_the_process_and_answers_who_waits(journal: Journal) -> None:
    worker = make_worker()
    await worker.start()
    pid = pid_of(worker)
    hung = asyncio.create_task(worker.infer(request("hang")))
    await until(lambda: journal.details("started"))
    await worker.stop(grace=0.01)
    assert not psutil.pid_exists(pid or 0)
    with pytest.raises(WorkerCrashed):
        await hung


async def test_nothing_is_left_open_by_restarts(worker: Worker) -> None:
    process = psutil.Process()
    with pytest.raises(WorkerCrashed):
        await worker.infer(request("kill"))
    await worker.infer(request())
    before = process.num_fds()
    for _ in range(2):
        with pytest.raises(WorkerCrashed):
            await worker.infer(request("kill"))
        await worker.infer(request())
    assert process.num_fds() == before


async def test_the_deadline_of_a_request_is_known_in_the_models_process(worker: Worker, journal: Journal) -> None:
    """Nobody tells the process: it looks at the time itself between steps."""
    ends_at = asyncio.get_running_loop().time() + 0.1
    late = WorkRequest({"do": "wait_for", "mark": "late", "file": "/nowhere"}, (), ends_at=ends_at)
    await worker.infer(late)
    assert journal.details("cancelled") == ["late"]


async def test_clients_take_turns_and_each_ones_requests_keep_their_order(journal: Journal, tmp_path: Path) -> None:
    worker = make_worker(max_batch=1)
    await worker.start()
    try:
        gate = tmp_path / "go"
        running = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
        await until(lambda: journal.details("started"))
        answered: list[str] = []

        async def ask(client: str, number: int) -> None:
            await worker.infer(WorkRequest({"do": "echo"}, (), client=client))
            answered.append(f"{client}{number}")

        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(ask("greedy", number))
            await until(lambda: worker.queue_length == 4)
            for number in range(2):
                group.create_task(ask("polite", number))
            await until(lambda: worker.queue_length == 6)
            gate.touch()
        await running
        assert answered == ["greedy0", "polite0", "greedy1", "polite1", "greedy2", "greedy3"]
    finally:
        await worker.stop()


async def test_turns_go_by_the_work_that_a_model_tells_of(journal: Journal, tmp_path: Path) -> None:
    worker = make_worker(max_batch=1)
    await worker.start()
    try:
        gate = tmp_path / "go"
        running = asyncio.create_task(worker.infer(request("wait_for", file=str(gate), mark="first")))
        await until(lambda: journal.details("started"))
        answered: list[str] = []

        async def ask(client: str, do: str) -> None:
            await worker.infer(WorkRequest({"do": do}, (), client=client))
            answered.append(client)

        async with asyncio.TaskGroup() as group:
            for client, do in [("costly", "slow")] * 2 + [("cheap", "echo")] * 2:
                group.create_task(ask(client, do))
            await until(lambda: worker.queue_length == 4)
            gate.touch()
        await running
        assert answered == ["costly", "cheap", "cheap", "costly"]
    finally:
        await worker.stop()


def test_cores_are_shared_among_the_models_that_run() -> None:
    cores = CoreShare(4)
    with cores.shared() as alone, cores.shared() as second, cores.shared() as third:
        assert (alone, second, third) == (4, 2, 1)
    with cores.shared() as again:
        assert again == 4
    with CoreShare(1).shared() as only:
        assert only == 1


async def test_pictures_are_given_away_once_they_are_sent(worker: Worker) -> None:
    kept, given = picture(3), picture(4)
    await worker.infer(WorkRequest({"do": "echo"}, (kept,)))
    result = await worker.infer(WorkRequest({"do": "echo"}, (given,), is_last_use=True))
    assert result.value["mean"] == 4.0
    assert (len(kept.data), len(given.data)) == (18, 0)


async def test_an_error_of_ours_keeps_its_code_text_and_pause(worker: Worker) -> None:
    with pytest.raises(UpstreamUnavailable) as raised:
        await worker.infer(request("refuse"))
    assert (raised.value.detail, raised.value.retry_after) == ("in our own words", 17)
    with pytest.raises(ContextLengthExceeded, match="too long for this model") as raised_by_all:
        await worker.infer(request("refuse_all"))
    assert raised_by_all.value.retry_after is None


async def test_a_model_that_only_waits_for_another_server_takes_no_cores_from_the_others() -> None:
    shared = Shared(Metrics(), CoreShare(8))
    with FakeOpenAI({"hello": stalls("a")}) as server:
        factory = WorkerFactory(
            {None: DevicePolicy()}, find_gpus, 8, WorkerLimits(max_batch=1), shared, WeightStore({}), {}
        )
        entry = entry_of("far", server.url, "tiny", None)
        weights = await factory.locate(entry.spec)
        worker = factory.make(entry, weights, await factory.placements(entry.spec, weights), Owner())
        await worker.start()
        turn = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
        plain = {"temperature": None, "top_p": None, "max_tokens": 1, "stop": [], "seed": None}
        asking = asyncio.create_task(worker.infer(WorkRequest({"messages": [turn], **plain}, ())))
        await until(lambda: server.asked)
        with shared.cores.shared() as threads:
            assert threads == 8
        asking.cancel()
        await until(server.left.is_set)
        await worker.stop()
