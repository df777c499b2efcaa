"""Clients take turns by the work that they cause: who asks for much does not keep waiting who asks for little."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

CREDIT_SECONDS = 1.0
"""What a client that has asked for little may take before the others: a few crops."""
GRAIN_SECONDS = 0.05
"""Smaller differences of work do not count: who asks for about the same takes turns."""
_MOST_REMEMBERED = 1024  # clients


class FromClient(Protocol):
    """Something that a client waits for."""

    @property
    def client(self) -> str: ...


Waiting = TypeVar("Waiting", bound=FromClient)


class Turns:
    """Remembers how much work each client has caused: start-time fair queueing (Goyal, Vin and Cheng, 1996).

    Nobody saves up more than `CREDIT_SECONDS` by asking for nothing. Where the work is about equal, the client comes
    whose last turn is longest ago.
    """

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._last: dict[str, int] = {}
        self._used: dict[str, float] = {}
        self._reached = 0.0
        """The most work that a client had caused when its turn came."""

    def rank(self, client: str) -> tuple[int, int]:
        """The lower, the sooner is it the client's turn."""
        return math.floor(self._used_by(client) / GRAIN_SECONDS), self._last.get(client, 0)

    def choose_next(self, waiting: Iterable[Waiting]) -> Waiting:
        """The oldest of those that wait, of the client whose turn it is."""
        return min(waiting, key=lambda waiter: self.rank(waiter.client))

    def record_turn(self, client: str) -> None:
        """Note that a client has its turn now."""
        if len(self._last) >= _MOST_REMEMBERED:
            self._forget()
        self._last[client] = next(self._count)
        self._reached = max(self._reached, self._used_by(client))

    def charge(self, client: str, seconds: float) -> None:
        """Note how much work a client's turn was."""
        self._used[client] = self._used_by(client) + seconds

    def _used_by(self, client: str) -> float:
        least = self._reached - CREDIT_SECONDS
        return max(self._used.get(client, least), least)

    def _forget(self) -> None:
        """Drop the clients that have caused least: a stranger is treated almost as they are."""
        greediest = sorted(self._last, key=self._used_by)[_MOST_REMEMBERED // 2 :]
        self._last = {client: self._last[client] for client in greediest}
        self._used = {client: self._used[client] for client in greediest if client in self._used}


class _Waiter:
    def __init__(self, client: str) -> None:
        self.client = client
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FairPlaces:
    """A semaphore for which clients take turns, by the time that they were inside.

    Args:
        count: how many may be inside.
        most_of_one: how many of these may be one client's.
        clock: seconds that never go back.
    """

    def __init__(self, count: int, most_of_one: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = count
        self._most_of_one = most_of_one or count
        self._clock = clock
        self._waiters: list[_Waiter] = []
        self._inside: Counter[str] = Counter()
        self._turns = Turns()

    def locked(self) -> bool:
        """Whether somebody would have to wait, whoever it is."""
        return not self._free

    @asynccontextmanager
    async def place(self, client: str) -> AsyncIterator[None]:
        """Wait for a place; it is free again when the context ends."""
        await self._acquire(client)
        started = self._clock()
        try:
            yield
        finally:
            self._turns.charge(client, self._clock() - started)
            self._leave(client)

    async def _acquire(self, client: str) -> None:
        waiter = _Waiter(client)
        self._waiters.append(waiter)
        self._admit()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if not waiter.turn.cancelled():  # its turn had come
                self._leave(client)
            raise

    def _leave(self, client: str) -> None:
        self._free += 1
        self._inside -= Counter({client: 1})  # forgets who has none
        self._admit()

    def _admit(self) -> None:
        self._waiters = [waiter for waiter in self._waiters if not waiter.turn.cancelled()]
        while self._free and (may := [w for w in self._waiters if self._inside[w.client] < self._most_of_one]):
            waiter = self._turns.choose_next(may)
            self._waiters.remove(waiter)
            self._turns.record_turn(waiter.client)
            self._free -= 1
            self._inside[waiter.client] += 1
            waiter.turn.set_result(None)
