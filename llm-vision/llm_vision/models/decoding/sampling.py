"""Chooses the next token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


COLDEST = 1e-4
"""Temperature below which only the most probable token is left, and numbers overflow."""


@dataclass(frozen=True)
class TokenSampling:
    """How the tokens of a request are chosen."""

    temperature: float = 0.0
    """0 always takes the most probable token."""
    top_p: float = 1.0
    """Only the most probable tokens with this share together may come (nucleus sampling, Holtzman et al., 2020)."""
    seed: int | None = None
    """The same seed gives the same text for the same request."""


class Sampler:
    """The choices of one request.

    Args:
        sampling: how they are made.
    """

    def __init__(self, sampling: TokenSampling) -> None:
        import torch

        self._sampling = sampling
        self._random = torch.Generator()
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def choose(self, logits: torch.Tensor) -> tuple[int, torch.Tensor]:
        """A token, and the log-probabilities (vocabulary,) of all at temperature 1.

        Args:
            logits: shape (vocabulary,).
        """
        import torch

        logits = logits.float().cpu()
        logarithms = torch.log_softmax(logits, dim=-1)
        if self._sampling.temperature < COLDEST:
            token = int(logits.argmax())
        else:
            shares = _nucleus(torch.softmax(logits / self._sampling.temperature, dim=-1), self._sampling.top_p)
            token = int(torch.multinomial(shares, 1, generator=self._random))
        return token, logarithms


def _nucleus(shares: torch.Tensor, top_p: float) -> torch.Tensor:
    """The shares, with 0 for those outside of the most probable ones that reach `top_p` together."""
    import torch

    if top_p >= 1:
        return shares
    ordered, places = shares.sort(descending=True)
    outside = ordered.cumsum(0) - ordered >= top_p
    outside[0] = False
    return shares.index_fill(0, places[outside], 0) if bool(outside.any()) else torch.clone(shares)
