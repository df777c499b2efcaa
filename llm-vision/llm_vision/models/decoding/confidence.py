"""How sure a model is of a text."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_probability(logarithms: Sequence[float]) -> float:
    """exp of the mean log-probability of a text's tokens, its end included; 1 of no token."""
    return math.exp(min(0.0, sum(logarithms) / max(1, len(logarithms))))
