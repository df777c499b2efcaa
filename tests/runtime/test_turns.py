"""Clients take turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType, SimpleNamespace

import pytest

from llm_vision.admission.turns import FairPlaces, Turns
from llm_vision.images.raw import RawImage
from llm_vision.runtime.work import WorkRequest
from llm_vision.runtime.worker.limits import WorkerLimits
from llm_vision.runtime.worker.queue import BatchQueue, Ticket
from llm_vision.runtime.worker.running import Running
from llm_vision.runtime.worker.shared import CoreShare
from runtime.conftest import Clock


class Visitors:
    """Tasks that note when they were inside, and leave after the time that their client takes.

    Args:
        places: where they go in.
        clock: moved by what they take.
        takes: seconds, by client; else none.
    """

    def __init__(self, places: FairPlaces, clock: Clock, takes: Mapping[str, float] = MappingProxyType({})) -> None:
        self._places = places
        self._clock = clock
        self._takes = takes
        self.inside: list[str] = []

    def come(self, name: str) -> asyncio.Task[None]:
        """A task of the client that the name's first letter stands for."""

        async def visit() -> None:
            async with self._places.place(name[0]):
                self.inside.append(name)
                await asyncio.sleep(0)
                self._clock.now += self._takes.get(name[0], 0.0)

        return asyncio.create_task(visit())


async def visited(takes: Mapping[str, float], *names: str) -> list[str]:
    """In which order they are inside who come while `a` is."""
    clock = Clock()
    places = FairPlaces(1, clock=clock)
    visitors = Visitors(places, clock, takes)
    async with places.place("a"):
        assert places.locked()
        tasks = [visitors.come(name) for name in names]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert not places.locked()
    return visitors.inside


async def test_who_asks_for_little_does_not_wait_behind_who_asks_for_much() -> None:
    inside = await visited({}, "a1", "a2", "a3", "b1", "c1", "b2")
    assert inside == ["b1", "c1", "a1", "b2", "a2", "a3"]


async def test_turns_are_shared_by_work_and_not_by_count() -> None:
    inside = await visited({"a": 5.0, "b": 0.5}, *(f"a{n}" for n in range(3)), *(f"b{n}" for n in range(25)))
    cheap_between = [index for index, name in enumerate(inside) if name[0] == "a"]
    assert inside[:2] == ["b0", "a0"], "nobody knows yet that it takes long"
    assert 10 <= cheap_between[1] - cheap_between[0] <= 13, "as much work of the other one's, and its credit"


async def test_nobody_saves_up_turns_by_asking_for_nothing() -> None:
    turns = Turns()
    for _ in range(100):
        turns.record_turn("busy")
        turns.charge("busy", 1.0)
    waiting = [SimpleNamespace(client="busy"), SimpleNamespace(client="fresh")]
    taken = Counter[str]()
    for _ in range(40):
        client = turns.choose_next(waiting).client
        turns.record_turn(client)
        turns.charge(client, 1.0)
        taken[client] += 1
    assert 19 <= taken["busy"] <= 20


async def test_one_client_cannot_have_all_places_where_it_may_not() -> None:
    places = FairPlaces(2, most_of_one=1)
    visitors = Visitors(places, Clock())
    async with places.place("a"):
        second, other = visitors.come("a2"), visitors.come("b1")
        await other
        assert visitors.inside == ["b1"]
    await second
    assert visitors.inside == ["b1", "a2"]


async def test_as_many_are_inside_as_may_be() -> None:
    places = FairPlaces(2)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            assert not places.locked()
            await stack.enter_async_context(places.place("a"))
        third = Visitors(places, Clock()).come("b")
        await asyncio.sleep(0)
        assert not third.done()
    await third


@pytest.mark.parametrize("is_its_turn", [False, True])
async def test_who_leaves_while_waiting_takes_no_place_along(*, is_its_turn: bool) -> None:
    places = FairPlaces(1)
    visitors = Visitors(places, Clock())
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


class Process:
    """What runs in a worker's process, and a queue in front of it."""

    def __init__(self, **limits: object) -> None:
        self.limits = WorkerLimits(**{"max_batch": 4, **limits})  # type: ignore[arg-type]
        self.queue = BatchQueue(max_queue=99, max_batch=self.limits.max_batch, batch_wait=0, arriving=lambda: 0)
        self.running = Running(self.limits, CoreShare(1), self.queue.look_again)
        self.running.open()

    def ask(self, client: str, count: int = 1, megabytes: int = 0) -> list[Ticket]:
        """Some requests of a client, each with a picture."""
        future = asyncio.get_running_loop().create_future
        picture = RawImage(1, megabytes * 1024 * 1024 // 3, b"x")
        tickets = [Ticket(WorkRequest({}, (picture,), client), future(), 0.0) for _ in range(count)]
        for ticket in tickets:
            self.queue.put(ticket)
        return tickets

    async def start(self) -> list[str]:
        """The clients of those that begin now."""
        batch = await self.queue.next_batch(self.running.when_to_start)
        self.running.start(batch, 0.0)
        return [ticket.client for ticket in batch]


async def test_huge_pictures_do_not_run_together() -> None:
    process = Process()
    process.ask("a", 4, megabytes=200)
    for _ in range(2):
        assert await process.start() == ["a", "a"]
        process.running.end_all()


async def test_places_are_kept_for_those_of_whom_nothing_runs() -> None:
    process = Process(max_batch=4, places_for_others=2, is_stepped=True)
    process.ask("greedy", 4)
    assert await process.start() == ["greedy", "greedy"]
    process.ask("polite", 2)
    assert await process.start() == ["polite"]
    more = asyncio.create_task(process.start())
    await asyncio.sleep(0)
    assert not more.done(), "both have something running"
    process.ask("other")
    assert await more == ["other"]


async def test_room_for_pixels_is_kept_too_and_a_huge_picture_is_not_overtaken_for_ever() -> None:
    process = Process(max_batch=16, places_for_others=8, is_stepped=True)
    process.ask("greedy", 4, megabytes=120)
    assert await process.start() == ["greedy", "greedy"]
    small = process.ask("polite", 1, megabytes=3)
    assert await process.start() == ["polite"]
    process.ask("huge", 1, megabytes=500)
    process.running.end(small[0])
    process.queue.charge("late", 10.0)
    process.ask("late", 1, megabytes=3)
    waits = asyncio.create_task(process.start())
    await asyncio.sleep(0)
    assert not waits.done(), "who has caused more work waits behind it"
    process.running.end_all()
    assert await waits == ["huge"]


async def test_whose_requests_cost_more_comes_later() -> None:
    process = Process(max_batch=1)
    process.ask("costly", 3)
    process.ask("cheap", 3)
    order = []
    for _ in range(6):
        (client,) = await process.start()
        process.queue.charge(client, 1.5 if client == "costly" else 0.1)
        process.running.end_all()
        order.append(client)
    assert order == ["costly", "cheap", "cheap", "cheap", "costly", "costly"]
