"""What the pool asks of whoever makes workers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ...models.base import ModelSpec
from ...models.registry import CatalogEntry
from ..placement.placements import Placements
from ..worker.owner import Owner
from ..worker.worker import Worker


class Workers(Protocol):
    """Makes workers; see `worker.factory.WorkerFactory`."""

    async def make(self, entry: CatalogEntry, placements: Placements, owner: Owner) -> Worker: ...

    async def placements(self, spec: ModelSpec) -> Placements: ...

    def files(self, spec: ModelSpec) -> Iterable[Path]: ...
