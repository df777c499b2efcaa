"""The places for requests that were taken in, and who gives one up when there is none left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ..errors import QueueFull

RETRY_AFTER_SECONDS = 1
RETRY_WHEN_BUSY_SECONDS = 5


class Places:
    """As many requests as may run and wait at the same time.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: list[Admission] = []
        self.arriving = 0
        """Requests that have a place and are not queued yet."""

    @property
    def is_full(self) -> bool:
        """Whether the next request needs somebody else's place."""
        return len(self._taken) >= self._limit

    def choose_victim(self, client: str) -> Admission | None:
        """The youngest waiting request of the client that has most places, if that is fair.

        It is not when the new request's own client would then have as many as the one that gives.
        """
        taken_by = Counter(admission.client for admission in self._taken)
        for greedy, count in taken_by.most_common():
            if count <= taken_by[client] + 1:
                return None
            waiting = [
                admission for admission in self._taken if admission.client == greedy and not admission.is_running
            ]
            if waiting:
                return waiting[-1]
        return None

    @contextmanager
    def admit(self, client: str) -> Iterator[Admission]:
        """Take a place, for as long as the context lasts."""
        admission = Admission(self, client)
        self._taken.append(admission)
        self.arriving += 1
        try:
            yield admission
        finally:
            admission.mark_queued()
            self.leave(admission)

    def leave(self, admission: Admission) -> None:
        """Its place is free, if it still had one."""
        if admission in self._taken:
            self._taken.remove(admission)


class Admission:
    """A request that was taken in: on its way, then queued, then running.

    Args:
        places: where it has its place.
        client: who asks.
    """

    def __init__(self, places: Places, client: str) -> None:
        self._places = places
        self._is_arriving = True
        self.is_running = False
        self.client = client
        self.on_displaced: Callable[[], None] = lambda: None

    @property
    def is_arriving(self) -> bool:
        """Whether no model has it yet."""
        return self._is_arriving

    def mark_queued(self) -> None:
        """Count it as queued, or as never to be."""
        if self._is_arriving:
            self._is_arriving = False
            self._places.arriving -= 1

    def mark_running(self) -> None:
        """It runs from now on, and cannot be displaced."""
        self.is_running = True

    def displace(self) -> None:
        """End it, for somebody else."""
        self._places.leave(self)
        self.on_displaced()


@contextmanager
def admit_everywhere(wanted: Sequence[Places], client: str) -> Iterator[list[Admission]]:
    """Take a request in, before its picture is decoded: a place in each, or in none.

    Raises:
        QueueFull: one has as many requests as it may, and nobody has to give one up for this client.
    """
    victims = []
    for places in wanted:
        if places.is_full:
            victim = places.choose_victim(client)
            if victim is None:
                raise QueueFull("as many requests as may run and wait are there", retry_after=RETRY_AFTER_SECONDS)
            victims.append(victim)
    for victim in victims:
        victim.displace()
    with ExitStack() as stack:
        yield [stack.enter_context(places.admit(client)) for places in wanted]
