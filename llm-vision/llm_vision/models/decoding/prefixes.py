"""What a language model has read before, so that a prompt which begins alike is not read again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .cache import TokenCache
from .keeping import FairStore

LEAST = 16
"""Tokens that must be the same to be worth it."""
MOST = 128
"""Prompts: each new one is compared with all of its owner."""

Read = tuple[NDArray[np.int64], TokenCache]


class PrefixStore:
    """Caches of prompts, as many as fit; see `FairStore` for those that stay.

    Args:
        max_bytes: of all of them together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._known: FairStore[bytes, Read] = FairStore(max_bytes, MOST)

    def longest(self, owner: str, key: Sequence[int]) -> tuple[int, TokenCache] | None:
        """How many tokens of a prompt an owner's prompts begin with, and a cache of them.

        The last token is always to be read.

        Args:
            owner: see `Item.owner`.
            key: one number for each token; see `Prompt.key`.
        """
        wanted = np.asarray(key[:-1], np.int64)
        best, nearest = 0, None
        for name, (known, _) in self._known.items(owner):
            common = _common(known, wanted)
            if common > best:
                best, nearest = common, name
        if nearest is None or best < LEAST or not (found := self._known.use(owner, nearest)):
            return None
        return best, found[1].first(best)

    def keep(self, owner: str, key: Sequence[int], cache: TokenCache) -> None:
        """Remember a prompt that was read for an owner; the cache may go on."""
        tokens = np.asarray(key, np.int64)
        name = tokens.tobytes()
        if self._known.use(owner, name):
            return
        known = cache.first(len(tokens))
        self._known.put(owner, name, (tokens, known), known.size_bytes)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many numbers at the beginning of both are the same."""
    shorter = min(len(one), len(other))
    different = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(different[0]) if len(different) else shorter
