"""Requests that are worked on in parts: nobody waits behind a costly one, since clients share a model by work."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..admission.turns import Turns
from ..errors import ClientClosed
from .base import Item, JsonObject, SteppedModel

COSTLY_SECONDS = 1.0
"""A request that has cost more is no longer in line with its client's others: they share by work, too."""

Part = Any
"""What is worked on in one go, some hundredths of a second if possible; what it is, its family knows."""
Steps = Generator[Sequence[Part], list[Any], JsonObject]
"""Yields parts that may be worked on in any order, is sent what came of each, and returns the result."""


@dataclass(eq=False)
class PartedRequest:
    """A request while it is worked on."""

    item: Item
    steps: Steps
    number: int
    waiting: deque[tuple[int, Part]] = field(default_factory=deque)
    """Parts that nobody works on yet, with their places among the step's."""
    returned: list[Any] = field(default_factory=list)
    """By the step's parts."""
    running: int = 0
    """Parts that are being worked on."""
    outcome: JsonObject | Exception | None = None

    @property
    def client(self) -> str:
        """Who asks."""
        return self.item.client

    @property
    def is_costly(self) -> bool:
        """Whether it has cost so much already that others go first."""
        return (self.item.work_seconds or 0.0) >= COSTLY_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and nothing of it is being worked on any more."""
        return self.outcome is not None and not self.running

    def go_on(self, returned: list[Any] | None) -> None:
        """Let the request say what comes next, for as long as that is nothing to work on."""
        try:
            parts = next(self.steps) if returned is None else self.steps.send(returned)
            while not parts:
                parts = self.steps.send([])
        except StopIteration as end:
            self.outcome = end.value
        except Exception as error:  # the others are not to blame
            self.fail(error)
        else:
            self.waiting = deque(enumerate(parts))
            self.returned = [None] * len(parts)

    def fail(self, error: Exception) -> None:
        """End it; what nobody has begun is not worked on any more."""
        self.outcome = error
        self.waiting.clear()
        self.steps.close()


@dataclass(frozen=True)
class Assignment:
    """A part that is being worked on."""

    request: PartedRequest
    place: int
    part: Part


class PartedRequests:
    """All requests of a model, and whose part is next.

    Clients come first, the one whose requests have cost least; then, of one client, costly requests and others, by what
    each kind has cost; then the oldest request.
    """

    def __init__(self) -> None:
        self._requests: list[PartedRequest] = []
        self._count = 0
        self._busy: Counter[str] = Counter()
        """Parts of each client that are being worked on."""
        self._clients = Turns()
        self._kinds: dict[str, Turns] = {}
        """Costly and other requests of each client that has some now."""

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def running(self) -> int:
        """Parts that are being worked on."""
        return self._busy.total()

    @property
    def youngest(self) -> Item | None:
        """The request that came last."""
        return self._requests[-1].item if self._requests else None

    def add(self, item: Item, steps: Steps) -> None:
        """Take a request in."""
        self._count += 1
        item.work_seconds = 0.0
        self._requests.append(PartedRequest(item, steps, self._count))
        self._kinds.setdefault(item.client, Turns())

    def remove(self, item: Item) -> None:
        """Forget a request; what becomes of its parts is of no interest any more."""
        for request in self._requests:
            if request.item is item and request.outcome is None:
                request.fail(ClientClosed("nobody waits for this answer"))
        self._keep([request for request in self._requests if request.item is not item])

    def take(self, *, only_idle_clients: bool = False) -> Assignment | None:
        """The part that is next; None where there is none.

        Args:
            only_idle_clients: only for those of whom nothing is being worked on.
        """
        self._end_cancelled()
        for request in self._requests:
            if request.outcome is None and not request.running and not request.waiting:
                request.go_on(None)
        may = [
            request
            for request in self._requests
            if request.waiting and not (only_idle_clients and self._busy[request.client])
        ]
        if not may:
            return None
        request = min(may, key=self._rank)
        place, part = request.waiting.popleft()
        self._clients.record_turn(request.client)
        self._kinds[request.client].record_turn(str(request.is_costly))
        self._busy[request.client] += 1
        request.running += 1
        return Assignment(request, place, part)

    def put_back(self, assignments: Sequence[Assignment]) -> None:
        """These were not worked on, and are still to be."""
        for assignment in reversed(assignments):
            self._stop(assignment.request)
            if assignment.request.outcome is None:
                assignment.request.waiting.appendleft((assignment.place, assignment.part))

    def finish(self, assignment: Assignment, returned: Any, seconds: float) -> None:
        """What a part has returned, or the exception that it has raised, and what it has cost."""
        request = assignment.request
        self._charge(request, seconds)
        self._stop(request)
        self._end_cancelled()
        if request.outcome is not None:
            return
        if isinstance(returned, Exception):
            request.fail(returned)
            return
        request.returned[assignment.place] = returned
        if not request.waiting and not request.running:
            request.go_on(request.returned)

    def take_ended(self) -> list[tuple[Item, JsonObject | Exception]]:
        """The requests that have ended since, those that nobody waits for among them."""
        self._end_cancelled()
        ended = [request for request in self._requests if request.is_over]
        self._keep([request for request in self._requests if not request.is_over])
        return [(request.item, request.outcome) for request in ended if request.outcome is not None]

    def _end_cancelled(self) -> None:
        for request in self._requests:
            if request.outcome is None and request.item.cancelled:
                request.fail(ClientClosed("nobody waits for this answer"))

    def _rank(self, request: PartedRequest) -> tuple[int, tuple[int, int], tuple[int, int], int]:
        kind = self._kinds[request.client].rank(str(request.is_costly))
        return self._busy[request.client], self._clients.rank(request.client), kind, request.number

    def _charge(self, request: PartedRequest, seconds: float) -> None:
        self._clients.charge(request.client, seconds)
        if request.client in self._kinds:
            self._kinds[request.client].charge(str(request.is_costly), seconds)
        request.item.work_seconds = (request.item.work_seconds or 0.0) + seconds

    def _stop(self, request: PartedRequest) -> None:
        request.running -= 1
        self._busy -= Counter({request.client: 1})  # forgets who has none

    def _keep(self, requests: list[PartedRequest]) -> None:
        self._requests = requests
        clients = {request.client for request in requests}
        self._kinds = {client: turns for client, turns in self._kinds.items() if client in clients}


class ModelInParts(SteppedModel):
    """A model that works on its requests in parts. A family says which, in `steps_of`, and works on them in `step`."""

    def __init__(self) -> None:
        self._requests = PartedRequests()

    @abstractmethod
    def steps_of(self, item: Item) -> Steps:
        """What a request needs; nothing of it is done before the first part is asked for.

        The request's pictures are to be kept by what this returns: they are not there any more afterwards.
        """

    def join(self, item: Item) -> None:
        self._requests.add(item, self.steps_of(item))

    def leave(self, item: Item) -> None:
        self._requests.remove(item)

    def shrink(self) -> Item | None:
        misfit = self._requests.youngest
        if misfit:
            self._requests.remove(misfit)
        return misfit
