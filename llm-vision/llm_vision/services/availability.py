"""Whether a model's weights are there; where they are not, the reason is told."""

from __future__ import annotations

from ..errors import ModelLoadFailed, VisionError
from ..models.base import ModelSpec
from ..runtime.weights import WeightStore


class Availability:
    """What a service asks before it counts on a model.

    Args:
        weights: the volumes.
    """

    def __init__(self, weights: WeightStore) -> None:
        self._weights = weights

    def obstacle(self, spec: ModelSpec, *, retry_failed: bool = False) -> VisionError | None:
        """Why a model cannot be used yet, as the error to raise; None when its weights are there."""
        if spec.weights is None or self._weights.folder(spec.weights) is not None:
            return None
        return ModelLoadFailed(self._weights.whereabouts(spec.weights))
