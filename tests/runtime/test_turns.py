"""Clients take turns."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from llm_vision.admission.turns import FairPlaces
from llm_vision.images.raw import RawImage
from llm_vision.runtime.work import WorkRequest
from llm_vision.runtime.worker.queue import BatchQueue, Ticket


class Visitors:
    """Tasks that note when they were inside, and leave at once."""

    def __init__(self, places: FairPlaces) -> None:
        self._places = places
        self.inside: list[str] = []

    def come(self, name: str) -> asyncio.Task[None]:
        """A task of the client that the name's first letter stands for."""

        async def visit() -> None:
            async with self._places.place(name[0]):
                self.inside.append(name)
                await asyncio.sleep(0)

        return asyncio.create_task(visit())


async def test_who_asks_for_little_does_not_wait_behind_who_asks_for_much() -> None:
    places = FairPlaces(1)
    visitors = Visitors(places)
    async with places.place("a"):
        assert places.locked()
        tasks = [visitors.come(name) for name in ("a1", "a2", "a3", "b1", "c1", "b2")]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert visitors.inside == ["b1", "c1", "a1", "b2", "a2", "a3"]
    assert not places.locked()


async def test_as_many_are_inside_as_may_be() -> None:
    places = FairPlaces(2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            assert not places.locked()
            await stack.enter_async_context(places.place("a"))
        third = Visitors(places).come("b")
        await asyncio.sleep(0)
        assert not third.done()
    await third


@pytest.mark.parametrize("is_its_turn", [False, True])
async def test_who_leaves_while_waiting_takes_no_place_along(*, is_its_turn: bool) -> None:
    places = FairPlaces(1)
    visitors = Visitors(places)
    async with places.place("a"):
        leaving, staying = visitors.come("b"), visitors.come("c")
        await asyncio.sleep(0)
        if not is_its_turn:
            leaving.cancel()
    if is_its_turn:
        leaving.cancel()  # the place is its own already, and it does not know yet
    await asyncio.gather(leaving, staying, return_exceptions=True)
    assert visitors.inside == ["c"]
    assert not places.locked()


async def test_huge_pictures_do_not_run_together() -> None:
    queue = BatchQueue(max_queue=8, max_batch=4, batch_wait=0, arriving=lambda: 0)
    pixels = bytes(200 * 1024 * 1024)
    for _ in range(4):
        request = WorkRequest({}, (RawImage(1, 1, pixels),))
        queue.put(Ticket(request, asyncio.get_running_loop().create_future(), 0.0))
    assert [len(await queue.next_batch(4)) for _ in range(2)] == [2, 2]
