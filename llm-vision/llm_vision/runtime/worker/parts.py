"""What the handle of a worker, its supervisor and its exchanges with processes have in common."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from ...errors import InsufficientMemory, VisionError
from ...metrics import Metrics
from ..placement.placements import Placement, Placements
from .limits import WorkerLimits
from .queue import BatchQueue
from .running import Running

log = logging.getLogger(__name__)


class CurrentPlacement:
    """Where a model runs, and where it goes on when that does not suffice.

    Args:
        model_id: the model's.
        placements: those to take, each once.
        metrics: where moves are counted.
    """

    def __init__(self, model_id: str, placements: Placements, metrics: Metrics) -> None:
        self._model_id = model_id
        self._left = deque(placements.best_first)
        self._metrics = metrics
        self.notice = placements.notice
        """Why the model does not run where it was meant to; None when it does."""
        self.has_moved = False
        """Whether room for this placement is still to be made."""

    @property
    def placement(self) -> Placement:
        """On which device the model runs, with how many bits."""
        return self._left[0]

    @property
    def has_next(self) -> bool:
        """Whether there is another placement to go on in."""
        return len(self._left) > 1

    def go_to_next(self, error: VisionError) -> None:
        """Let the next process run the model in the next placement."""
        left = self._left.popleft()
        self.has_moved = True
        cause = "there was too little memory" if isinstance(error, InsufficientMemory) else "the model did not load"
        self.notice = f"{cause} {left.words}, so it runs {self.placement.words}"
        self._metrics.count_move(self._model_id, self.placement.device, self.placement.quantization)
        log.warning(self.notice, extra={"worker": self._model_id, "reason": error.detail})


@dataclass(frozen=True)
class WorkerParts:
    """One of each for a model in memory."""

    model_id: str
    limits: WorkerLimits
    metrics: Metrics
    queue: BatchQueue
    running: Running
    current: CurrentPlacement
