"""A worker whose requests join and leave between steps, on a real process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from conftest import Journal
from fixtures.talker import Talker
from fixtures.waiting import until
from llm_vision.errors import ContextLengthExceeded, InferenceFailed, InsufficientMemory, WorkerCrashed
from llm_vision.runtime.placement.placements import Placement
from llm_vision.runtime.work import WorkResult
from llm_vision.runtime.worker.worker import Worker
from runtime.conftest import make_worker, pid_of, request

GPU, CPU = Placement("cuda:0"), Placement("cpu")


@pytest.fixture
async def talker(journal: Journal) -> AsyncIterator[Worker]:
    started = make_worker(Talker)
    await started.start()
    yield started
    await started.stop()


class Said:
    """A request that is being answered, and what has come of it."""

    def __init__(self, worker: Worker, do: str = "talk", /, **params: object) -> None:
        self.numbers: list[str] = []
        self.task: asyncio.Task[WorkResult] = asyncio.create_task(
            worker.infer(request(do, **params), on_chunk=lambda chunk: self.numbers.append(chunk.text))
        )

    async def has(self, count: int) -> None:
        await until(lambda: len(self.numbers) >= count)


async def test_a_request_joins_while_another_is_answered(talker: Worker) -> None:
    long = Said(talker, count=2000, pause=0.002)
    await long.has(3)
    short = Said(talker, mark="short", count=2)
    assert (await short.task).value["text"] == "short"
    assert not long.task.done()
    assert short.numbers == ["0 ", "1 "]
    long.task.cancel()


async def test_no_more_join_than_may_and_the_next_comes_when_one_ends(talker: Worker, journal: Journal) -> None:
    talking = [Said(talker, count=5000, pause=0.001, mark=str(number)) for number in range(3)]
    for one in talking:
        await one.has(1)
    waits = Said(talker, mark="waits")
    await talking[0].has(30)
    assert (talker.queue_length, len(journal.details("join"))) == (1, 3)
    talking[1].task.cancel()
    assert (await waits.task).value["text"] == "waits"
    for one in talking:
        one.task.cancel()


async def test_who_leaves_is_not_answered_any_further(talker: Worker, journal: Journal) -> None:
    stays, leaves = (Said(talker, count=400, pause=0.002, mark=mark) for mark in ("stays", "leaves"))
    await leaves.has(5)
    leaves.task.cancel()
    await until(lambda: journal.details("left"))
    (mark_and_said,) = journal.details("left")
    mark, said = mark_and_said.split(":")
    assert mark == "leaves"
    assert int(said) <= len(leaves.numbers) + 3, "what was on its way, and a step"
    assert (await stays.task).value["text"] == "stays"


async def test_what_is_refused_fails_alone(talker: Worker) -> None:
    stays = Said(talker, count=50, pause=0.002, mark="stays")
    await stays.has(1)
    with pytest.raises(ContextLengthExceeded):
        await Said(talker, "refuse").task
    assert (await stays.task).value["text"] == "stays"


async def test_a_failed_step_answers_everybody_and_the_worker_lives(talker: Worker) -> None:
    together = [Said(talker, count=5000, pause=0.001), Said(talker, "raise", count=9, at=3)]
    for one in together:
        with pytest.raises(InferenceFailed) as failure:
            await one.task
        assert "secret" not in failure.value.detail
    pid = pid_of(talker)
    assert (await Said(talker, mark="next").task).value["text"] == "next"
    assert pid_of(talker) == pid


async def test_a_crash_answers_its_requests_and_the_worker_starts_again(talker: Worker) -> None:
    together = [Said(talker, count=5000, pause=0.001), Said(talker, "kill", count=9, at=3)]
    for one in together:
        with pytest.raises(WorkerCrashed):
            await one.task
    assert (await Said(talker, mark="next").task).value["text"] == "next"


async def test_a_hung_step_that_nobody_waits_for_is_ended(talker: Worker, journal: Journal) -> None:
    pid = pid_of(talker)
    hangs = Said(talker, "hang")
    await until(lambda: journal.details("hangs"))
    hangs.task.cancel()
    assert (await Said(talker, mark="next").task).value["text"] == "next"
    assert pid_of(talker) != pid


async def test_what_does_not_fit_is_answered_in_the_next_way_when_the_others_have_ended(journal: Journal) -> None:
    talker = make_worker(Talker, ways=[GPU, CPU])
    await talker.start()
    try:
        fits = Said(talker, mark="fits", count=60, pause=0.002)
        await fits.has(2)
        large = Said(talker, "fit", mark="large", count=2, ways=["cpu none"])
        after = Said(talker, mark="after", count=2)
        assert (await fits.task).value["way"] == "cuda:0 none"
        assert fits.numbers == [f"{number} " for number in range(60)]
        assert (await large.task).value["way"] == "cpu none"
        assert (await after.task).value["text"] == "after"
        assert "ran out" in str(talker.device_notice) or "too little memory" in str(talker.device_notice)
    finally:
        await talker.stop()


async def test_an_answer_that_has_begun_is_not_told_twice(journal: Journal) -> None:
    talker = make_worker(Talker, ways=[GPU, CPU])
    await talker.start()
    try:
        begun = Said(talker, "fit", count=9, at=4, ways=["cpu none"])
        with pytest.raises(InsufficientMemory):
            await begun.task
        assert begun.numbers == ["0 ", "1 ", "2 ", "3 "]
    finally:
        await talker.stop()


async def test_a_model_does_not_move_for_a_request_whose_client_has_left(journal: Journal) -> None:
    talker = make_worker(Talker, ways=[GPU, CPU])
    await talker.start()
    try:
        fits = Said(talker, mark="fits", count=300, pause=0.002)
        await fits.has(2)
        large = Said(talker, "fit", mark="large", count=2, ways=["cpu none"])
        await until(lambda: "large" in journal.details("join"))
        await fits.has(len(fits.numbers) + 20)
        large.task.cancel()
        for _ in range(3):
            assert (await Said(talker, mark="after").task).value["way"] == "cuda:0 none"
        assert not fits.task.done(), "others join again"
        assert (await fits.task).value["way"] == "cuda:0 none"
        assert (talker.placement, talker.device_notice) == (GPU, None)
    finally:
        await talker.stop()
