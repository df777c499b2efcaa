"""Who gets a place, and who gives one up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from llm_vision.admission.places import Admission, Places, admit_everywhere
from llm_vision.errors import QueueFull


class Crowd:
    """Admitted requests that note who was displaced."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.displaced: list[str] = []

    def admit(self, name: str, *places: Places) -> Admission:
        """Admit a request of the client that the name's first letter stands for."""
        admissions = self._stack.enter_context(admit_everywhere(places, name[0]))
        for admission in admissions:
            admission.on_displaced = lambda: self.displaced.append(name)
        return admissions[0]


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(stack)


def test_a_place_is_free_again_when_the_request_ends() -> None:
    places = Places(1)
    with admit_everywhere([places], "a"):
        assert places.is_full
        assert places.arriving == 1
    assert not places.is_full
    assert places.arriving == 0


def test_the_youngest_request_of_the_greediest_client_gives_its_place(crowd: Crowd) -> None:
    places = Places(4)
    for name in ("a1", "b1", "a2", "a3"):
        crowd.admit(name, places)
    crowd.admit("c1", places)
    assert crowd.displaced == ["a3"]
    with pytest.raises(QueueFull):  # the others would then have no more than c
        crowd.admit("c2", places)


def test_who_has_most_running_does_not_protect_the_next(crowd: Crowd) -> None:
    places = Places(5)
    for name in ("a1", "a2", "a3"):
        crowd.admit(name, places).mark_running()
    crowd.admit("b1", places)
    crowd.admit("b2", places)
    crowd.admit("c1", places)
    assert crowd.displaced == ["b2"]


def test_nobody_is_displaced_for_a_request_that_is_refused_elsewhere(crowd: Crowd) -> None:
    greedy, full = Places(2), Places(1)
    crowd.admit("a1", greedy)
    crowd.admit("a2", greedy)
    crowd.admit("b1", full)
    with pytest.raises(QueueFull):
        crowd.admit("c1", greedy, full)
    assert crowd.displaced == []
