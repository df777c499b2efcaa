"""What the pool asks of whoever makes workers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ...models.base import ModelSpec
from ...models.registry import CatalogEntry
from ..placement.placements import Placements
from ..weights.store import LocatedWeights
from ..worker.owner import Owner
from ..worker.worker import Worker


class Workers(Protocol):
    """Makes workers; see `worker.factory.WorkerFactory`."""

    async def locate(self, spec: ModelSpec) -> LocatedWeights: ...

    async def placements(self, spec: ModelSpec, weights: LocatedWeights) -> Placements: ...

    def make(self, entry: CatalogEntry, weights: LocatedWeights, placements: Placements, owner: Owner) -> Worker: ...

    def files(self, spec: ModelSpec) -> Iterable[Path]: ...
