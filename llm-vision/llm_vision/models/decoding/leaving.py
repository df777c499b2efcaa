"""Ends a search of Transformers when nobody waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..base import Item


def stop_when_nobody_waits(items: Sequence[Item]) -> Any:
    """A stopping criterion of `generate`: a text ends when its item was cancelled.

    Args:
        items: one for each text; a search with beams has as many rows for each.
    """

    def is_over(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        have_left = torch.tensor([item.cancelled for item in items], device=ids.device)
        return have_left.repeat_interleave(len(ids) // len(items))

    return is_over
