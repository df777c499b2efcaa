"""Ends a search of Transformers when nobody waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..base import Item


def stop_when_nobody_waits(items: Sequence[Item]) -> Any:
    """A stopping criterion of `generate`: all texts end when every item was cancelled."""

    def is_over(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((len(ids),), all(item.cancelled for item in items), device=ids.device)

    return is_over
