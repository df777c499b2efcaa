"""Clients take turns: who asks for much does not keep waiting who asks for little."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

_MOST_REMEMBERED = 1024  # clients


class FromClient(Protocol):
    """Something that a client waits for."""

    @property
    def client(self) -> str: ...


Waiting = TypeVar("Waiting", bound=FromClient)


class Turns:
    """Remembers when each client had its last turn."""

    def __init__(self) -> None:
        self._count = itertools.count(1)
        self._last: dict[str, int] = {}

    def choose_next(self, waiting: Iterable[Waiting]) -> Waiting:
        """The oldest of those that wait, of the client whose last turn is longest ago."""
        return min(waiting, key=lambda waiter: self._last.get(waiter.client, 0))

    def record_turn(self, client: str) -> None:
        """Note that a client has its turn now."""
        if len(self._last) >= _MOST_REMEMBERED:
            self._last.clear()
        self._last[client] = next(self._count)


class _Waiter:
    def __init__(self, client: str) -> None:
        self.client = client
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FairPlaces:
    """A semaphore for which clients take turns.

    Args:
        count: how many may be inside.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiters: list[_Waiter] = []
        self._turns = Turns()

    def locked(self) -> bool:
        """Whether somebody would have to wait."""
        return not self._free

    @asynccontextmanager
    async def place(self, client: str) -> AsyncIterator[None]:
        """Wait for a place; it is free again when the context ends."""
        await self._acquire(client)
        try:
            yield
        finally:
            self._free += 1
            self._admit()

    async def _acquire(self, client: str) -> None:
        waiter = _Waiter(client)
        self._waiters.append(waiter)
        self._admit()
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if not waiter.turn.cancelled():  # its turn had come
                self._free += 1
                self._admit()
            raise

    def _admit(self) -> None:
        self._waiters = [waiter for waiter in self._waiters if not waiter.turn.cancelled()]
        while self._free and self._waiters:
            waiter = self._turns.choose_next(self._waiters)
            self._waiters.remove(waiter)
            self._turns.record_turn(waiter.client)
            self._free -= 1
            waiter.turn.set_result(None)
