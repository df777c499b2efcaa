"""What all workers share: the metrics, and the cores that are divided among the models that run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..metrics import Metrics


class CoreShare:
    """The cores of the machine or container.

    Args:
        cores: how many there are.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._busy = 0

    @contextmanager
    def shared(self) -> Iterator[int]:
        """Run a batch; gives the threads that it may use, at least 1."""
        self._busy += 1
        try:
            yield max(1, self._cores // self._busy)
        finally:
            self._busy -= 1


@dataclass(frozen=True)
class Shared:
    """One of each for all workers."""

    metrics: Metrics
    cores: CoreShare
