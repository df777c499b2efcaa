"""Keys and values of the tokens that a language model has seen, for several texts of different length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers.cache_utils import Cache, DynamicLayer

_ROOM = 256
"""Tokens for which room is made at a time: to copy everything for each token costs a tenth of the time."""


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of shape (rows, heads, tokens, width), with room behind them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._store: list[torch.Tensor] = []

    @property
    def held(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values that there are."""
        assert self.keys is not None  # noqa: S101
        assert self.values is not None  # noqa: S101
        return self.keys, self.values

    def hold(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Take over tensors that nobody else keeps."""
        self.dtype, self.device = keys.dtype, keys.device
        self.keys, self.values = keys, values
        self._store = []
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens; all that there are now."""
        if not self.is_initialized:
            self.hold(key_states, value_states)
            return self.held
        done = self.get_seq_length()
        size = done + key_states.shape[2]
        if not self._store or self._store[0].shape[2] < size:
            self._store = [_with_room(tensor, size + _ROOM) for tensor in self.held]
        for store, new in zip(self._store, (key_states, value_states), strict=True):
            store[:, :, done:size] = new
        self.keys, self.values = (store[:, :, :size] for store in self._store)
        return self.held

    def first(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of the first tokens."""
        keys, values = self.held
        return keys[:, :, :count], values[:, :, :count]

    def shorten(self, count: int) -> None:
        """Forget all but the first tokens; the room stays."""
        self.keys, self.values = self.first(count)


def _with_room(tensor: torch.Tensor, size: int) -> torch.Tensor:
    rows, heads, tokens, width = tensor.shape
    store = tensor.new_empty(rows, heads, size, width)
    store[:, :, :tokens] = tensor
    return store


class TokenCache(Cache):
    """What a model remembers of some texts; every layer sees all tokens.

    Args:
        layers: how many the model has.
    """

    def __init__(self, layers: int) -> None:
        self._own = [_Layer() for _ in range(layers)]
        super().__init__(layers=list(self._own))

    def join(self, other: TokenCache) -> TokenCache:
        """A cache with the rows of both, those with fewer tokens padded in front with zeros."""
        longest = max(self.get_seq_length(), other.get_seq_length())
        together = TokenCache(len(self._own))
        for layer, mine, theirs in zip(together._own, self._own, other._own, strict=True):
            keys, values = (
                torch.cat([_padded(first, longest), _padded(second, longest)])
                for first, second in zip(mine.held, theirs.held, strict=True)
            )
            layer.hold(keys, values)
        return together

    def first(self, count: int) -> TokenCache:
        """A cache of the first tokens, which stays as it is whatever becomes of this one."""
        beginning = TokenCache(len(self._own))
        for layer, mine in zip(beginning._own, self._own, strict=True):
            layer.hold(*mine.first(count))
        return beginning

    def row(self, number: int, count: int) -> TokenCache:
        """A cache of the last tokens of one row."""
        alone = TokenCache(len(self._own))
        for layer, mine in zip(alone._own, self._own, strict=True):
            keys, values = (tensor[[number], :, -count:] for tensor in mine.held)
            layer.hold(keys, values)
        return alone

    @property
    def size_bytes(self) -> int:
        """Memory of its keys and values."""
        return sum(tensor.nbytes for layer in self._own if layer.is_initialized for tensor in layer.held)

    def crop(self, max_length: int) -> None:
        """Forget the tokens behind the first ones; also where not every layer has them."""
        for layer in self._own:
            if layer.is_initialized and layer.get_seq_length() > max_length:
                layer.shorten(max_length)

    def keep(self, rows: Sequence[int], unused: int) -> None:
        """Keep only these rows, without the `unused` tokens that they have in front."""
        for layer in self._own:
            keys, values = (tensor[list(rows), :, unused:] for tensor in layer.held)
            layer.hold(keys, values)


def _padded(tensor: torch.Tensor, size: int) -> torch.Tensor:
    return functional.pad(tensor, (0, 0, size - tensor.shape[2], 0))
