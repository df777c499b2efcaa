"""What the pool asks of whoever makes workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from ...errors import VisionError
from ...models.base import ModelSpec
from ...models.registry import CatalogEntry
from ..placement.placements import Placements
from ..worker.worker import Worker


class Workers(Protocol):
    """Makes workers; see `worker_factory.WorkerFactory`."""

    def make(
        self,
        entry: CatalogEntry,
        placements: Placements,
        arriving: Callable[[], int],
        on_failed: Callable[[VisionError], None],
    ) -> Worker: ...

    async def placements(self, spec: ModelSpec) -> Placements: ...

    def files(self, spec: ModelSpec) -> Iterable[Path]: ...
