"""A worker has a limit of memory from its forecast: what wants more is told, and the process goes on."""

from __future__ import annotations

import asyncio

import pytest

from conftest import Journal
from fixtures.faulty_models import Devouring, Panicking
from llm_vision.errors import InferenceFailed, InsufficientMemory
from llm_vision.models.base import ModelSpec, Quantization
from llm_vision.models.registry import Catalog
from llm_vision.runtime.placement.placements import DevicePolicy, Placement, plan_placements

from .conftest import make_worker, pid_of, request

GIB = 1024**3
LIMITED = Placement("cpu", limit_bytes=1 * GIB)


async def test_a_request_that_wants_more_than_the_limit_is_told_and_the_others_go_on(journal: Journal) -> None:
    worker = make_worker(ways=[LIMITED], max_batch=1)
    await worker.start()
    try:
        pid = pid_of(worker)
        with pytest.raises(InsufficientMemory):
            await worker.infer(request("devour", bytes=64 * GIB))
        answers = await asyncio.gather(*(worker.infer(request(mark=str(number))) for number in range(3)))
        assert [answer.value["text"] for answer in answers] == ["0", "1", "2"]
        assert (await worker.infer(request("devour", bytes=GIB // 4))).value["pid"] == pid
    finally:
        await worker.stop()


async def test_a_model_that_wants_more_than_the_limit_does_not_load_and_says_so(journal: Journal) -> None:
    with pytest.raises(InsufficientMemory, match="it wants more than the 1024 MiB that it may take"):
        await make_worker(Devouring, ways=[LIMITED]).start()


async def test_a_process_that_ends_while_it_loads_tells_its_limit(journal: Journal) -> None:
    with pytest.raises(Exception, match=r"its process ended; it may take 1024 MiB"):
        await make_worker(Panicking, ways=[LIMITED], load_seconds=60).start()


async def test_a_library_that_panics_fails_its_request_only(journal: Journal) -> None:
    worker = make_worker(ways=[LIMITED])
    await worker.start()
    try:
        pid = pid_of(worker)
        with pytest.raises(InferenceFailed):
            await worker.infer(request("panic"))
        assert (await worker.infer(request())).value["pid"] == pid
    finally:
        await worker.stop()


def limit(spec: ModelSpec, weight_bytes: int) -> list[int | None]:
    return [way.limit_bytes for way in plan_placements(spec, DevicePolicy("cpu"), (), weight_bytes).best_first]


def test_every_model_on_the_cpu_has_a_limit_with_room_for_32_bits() -> None:
    for entry in Catalog.discover().values():
        spec = entry.spec
        (limited,) = limit(spec, 0)
        assert limited is not None
        assert 2 * spec.memory_bytes <= limited <= 3 * spec.memory_bytes + GIB
        weights = 14 * 10**9
        if spec.quantizable:
            for placement in plan_placements(spec, DevicePolicy("cpu", "none"), (), weights).best_first:
                assert placement.quantization is Quantization.NONE
                assert placement.limit_bytes is not None
                assert placement.limit_bytes >= 3 * weights + spec.working_bytes
