"""Requests in parts: whose part is next, and what becomes of a request whose part fails or that nobody waits for."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from fixtures.items import PlainItem
from llm_vision.errors import ClientClosed
from llm_vision.models.base import Item, JsonObject
from llm_vision.models.parts import Assignment, Part, PartedRequests, Steps


def item_of(client: str) -> PlainItem:
    item = PlainItem([], {})
    item.client = client
    return item


def steps(name: str, parts: int, rounds: int = 1) -> Steps:
    """A request of some parts, whose results are the parts' numbers."""
    found: list[Any] = []
    for _ in range(rounds):
        found += yield [lambda engine, number=number: (name, number, engine) for number in range(parts)]
    return {"found": found}


class Reader:
    """One engine, whose parts cost what the test says."""

    def __init__(self, costs: dict[str, float]) -> None:
        self.requests = PartedRequests()
        self._costs = costs
        self.order: list[str] = []
        self.ended: dict[str, JsonObject | Exception] = {}
        self._names: dict[Item, str] = {}

    def ask(self, name: str, parts: int, rounds: int = 1) -> PlainItem:
        """A request of the client that the name's first letter stands for."""
        item = item_of(name[0])
        self._names[item] = name
        self.requests.add(item, steps(name, parts, rounds))
        return item

    def work(self, most: int = 10_000) -> None:
        """Work on some parts, one after the other, and note whose they were and who ends."""
        for _ in range(most):
            assignment = self.requests.take()
            if assignment is None:
                break
            self.finish(assignment)
        self.look()

    def finish(self, assignment: Assignment) -> None:
        name = self._names[assignment.request.item]
        self.order.append(name)
        self.requests.finish(assignment, assignment.part("engine"), self._costs[name[0]])
        self.look()

    def look(self) -> None:
        for item, outcome in self.requests.take_ended():
            self.ended[self._names[item]] = outcome
            self.order.append(f"{self._names[item]}.")


def test_each_part_is_worked_on_once_and_results_keep_their_order() -> None:
    reader = Reader({"a": 0.1, "b": 0.1})
    reader.ask("a", 3, rounds=2)
    reader.ask("b", 2)
    reader.work()
    numbers = [("a", number, "engine") for number in range(3)]
    assert reader.ended == {"a": {"found": numbers * 2}, "b": {"found": [("b", n, "engine") for n in range(2)]}}
    assert len(reader.requests) == reader.requests.running == 0


def test_a_polite_crop_is_read_between_the_lines_of_a_costly_picture() -> None:
    reader = Reader({"c": 0.02, "p": 0.02})
    reader.ask("costly", 1000)
    reader.work(100)
    for number in range(5):
        reader.ask(f"p{number}", 5)
        before = len(reader.order)
        while f"p{number}" not in reader.ended:
            reader.work(1)
        of_others = reader.order[before:].count("costly")
        assert of_others <= 5, "at most as much work as its own"
    assert "costly" not in reader.ended


def test_who_asks_for_much_gets_no_more_than_a_share_by_asking_often() -> None:
    reader = Reader({"g": 0.5, "p": 0.1})
    for number in range(20):
        reader.ask(f"g{number}", 10)
    reader.ask("p", 100)
    reader.work(80)
    work = {client: sum(name[0] == client for name in reader.order) for client in "gp"}
    assert abs(work["g"] * 0.5 - work["p"] * 0.1) <= 1.1, "as much work, and the credit"


def test_a_costly_request_leaves_the_line_of_its_own_client() -> None:
    reader = Reader({"s": 0.1})
    reader.ask("s-long", 100)
    reader.work(30)
    for number in range(3):
        reader.ask(f"s{number}", 3)
    reader.work(20)
    assert {"s0", "s1", "s2"} <= reader.ended.keys()
    assert 9 <= reader.order[30:].count("s-long") <= 11, "they share by work: nobody is forgotten"


def test_requests_of_one_client_that_cost_little_come_one_after_the_other() -> None:
    reader = Reader({"s": 0.02})
    for number in range(3):
        reader.ask(f"s{number}", 4)
    reader.work()
    assert [name for name in reader.order if name.endswith(".")] == ["s0.", "s1.", "s2."]


def test_engines_that_are_free_together_work_for_two_clients() -> None:
    reader = Reader({"a": 1.0, "b": 1.0})
    reader.ask("a", 10)
    assert reader.requests.take() is not None
    reader.ask("b", 10)
    second = reader.requests.take()
    assert second is not None
    assert second.request.client == "b"
    assert reader.requests.take(only_idle_clients=True) is None
    reader.ask("c", 1)
    assert reader.requests.take(only_idle_clients=True) is not None


def test_a_part_that_fails_ends_its_request_and_no_other() -> None:
    requests = PartedRequests()
    bad, good = item_of("a"), item_of("b")
    failure = ValueError("broken")
    requests.add(bad, steps("bad", 5))
    requests.add(good, steps("good", 1))
    ended: dict[Item, JsonObject | Exception] = {}
    while assignment := requests.take():
        is_bad = assignment.request.item is bad
        requests.finish(assignment, failure if is_bad else assignment.part(0), 0.1)
        ended |= requests.take_ended()
    assert ended == {bad: failure, good: {"found": [("good", 0, 0)]}}


def test_a_request_that_fails_at_its_beginning_ends_alone() -> None:
    def broken() -> Generator[Sequence[Part], list[Any], JsonObject]:
        raise IndexError
        yield []

    requests = PartedRequests()
    item = item_of("a")
    requests.add(item, broken())
    assert requests.take() is None
    ((ended, outcome),) = requests.take_ended()
    assert ended is item
    assert isinstance(outcome, IndexError)


def test_nothing_more_is_done_for_a_request_that_nobody_waits_for() -> None:
    reader = Reader({"a": 0.1})
    item = reader.ask("a", 1000)
    reader.work(3)
    running = reader.requests.take()
    assert running is not None
    item.cancelled = True
    reader.look()
    assert reader.requests.take() is None
    assert not reader.ended, "its last part is still being worked on: a hang must show"
    reader.finish(running)
    assert isinstance(reader.ended["a"], ClientClosed)
    assert reader.order.count("a") == 4
    assert item.work_seconds == 0.4


def test_what_was_not_worked_on_is_worked_on_later() -> None:
    reader = Reader({"a": 0.1})
    reader.ask("a", 3)
    taken = [reader.requests.take() for _ in range(2)]
    reader.requests.put_back([assignment for assignment in taken if assignment])
    reader.work()
    assert reader.ended == {"a": {"found": [("a", number, "engine") for number in range(3)]}}
