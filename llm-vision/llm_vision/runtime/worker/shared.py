"""What all workers share: the metrics, and the cores that are divided among the models that run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...metrics import Metrics


class CoreShare:
    """The cores of the machine or container.

    Args:
        cores: how many there are.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._busy = 0

    @property
    def threads(self) -> int:
        """How many a model that runs may use now, at least 1."""
        return max(1, self._cores // max(1, self._busy))

    @contextmanager
    def shared(self) -> Iterator[int]:
        """Run something; gives the threads that it may use."""
        self._busy += 1
        try:
            yield self.threads
        finally:
            self._busy -= 1


@dataclass(frozen=True)
class Shared:
    """One of each for all workers."""

    metrics: Metrics
    cores: CoreShare
