"""Connections that stay open: whose is ended when there are too many, so that one client's keep nobody else out."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


class Connections(Generic[Connection]):
    """Those that are open, of whom, and for how long each has waited for its client.

    Args:
        most: that may be open.
        most_of_one: client's; None: as many as there are.
    """

    def __init__(self, most: int, most_of_one: int | None = None) -> None:
        self._most = most
        self._most_of_one = most if most_of_one is None else most_of_one
        self._client_of: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()
        self._idle: dict[str, dict[Connection, int]] = {}  # by client; the one that is idle for longest is the first
        self._moments = itertools.count()

    def __len__(self) -> int:
        return len(self._client_of)

    def __iter__(self) -> Iterator[Connection]:
        """Those that are open now; they may leave meanwhile."""
        return iter(list(self._client_of))

    def enter(self, connection: Connection, client: str) -> None:
        """It is open, and its client is busy with it."""
        self._client_of[connection] = client
        self._counts[client] += 1

    def leave(self, connection: Connection) -> None:
        """It is not open any more, if it still was."""
        self.mark_busy(connection)
        client = self._client_of.pop(connection, None)
        if client is not None:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]

    def mark_idle(self, connection: Connection) -> None:
        """Its client has to do something, from now on or as before."""
        client = self._client_of.get(connection)
        if client is not None:
            self._idle.setdefault(client, {}).setdefault(connection, next(self._moments))

    def mark_busy(self, connection: Connection) -> None:
        """The service has to do something."""
        client = self._client_of.get(connection)
        if client is not None and client in self._idle:
            self._idle[client].pop(connection, None)
            if not self._idle[client]:
                del self._idle[client]

    def choose_victim(self, newcomer: Connection) -> Connection | None:
        """Whom to end, now that one more has entered: None when there is room for it.

        The one that is idle for longest, of the client that has most; never one of a client that has fewer than the
        newcomer's, and the newcomer itself when nobody else is idle.
        """
        client = self._client_of[newcomer]
        if self._counts[client] > self._most_of_one:
            return self._longest_idle([client], newcomer)
        if len(self) <= self._most:
            return None
        at_least = self._counts[client]
        counts = sorted({self._counts[one] for one in self._idle if self._counts[one] >= at_least}, reverse=True)
        for count in counts:
            victim = self._longest_idle([one for one in self._idle if self._counts[one] == count], newcomer)
            if victim is not newcomer:
                return victim
        return newcomer

    def _longest_idle(self, clients: list[str], newcomer: Connection) -> Connection:
        first = [
            (moment, connection)
            for client in clients
            for connection, moment in itertools.islice(self._idle.get(client, {}).items(), 2)
            if connection is not newcomer
        ]
        return min(first, key=lambda found: found[0], default=(0, newcomer))[1]
