"""What a language model has read before, so that a prompt which begins alike is not read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .cache import TokenCache

LEAST = 16
"""Tokens that must be the same to be worth it."""
MOST = 128
"""Prompts: each new one is compared with all."""


class PrefixStore:
    """Caches of prompts, as many as fit; those that were used last stay.

    Args:
        max_bytes: of all of them together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._known: OrderedDict[bytes, tuple[NDArray[np.int64], TokenCache]] = OrderedDict()
        self._bytes = 0

    def longest(self, key: Sequence[int]) -> tuple[int, TokenCache] | None:
        """How many tokens of a prompt are known, and a cache of them; the last token is always to be read.

        Args:
            key: one number for each token; see `Prompt.key`.
        """
        wanted = np.asarray(key[:-1], np.int64)
        best, nearest = 0, None
        for name, (known, _) in self._known.items():
            common = _common(known, wanted)
            if common > best:
                best, nearest = common, name
        if nearest is None or best < LEAST:
            return None
        self._known.move_to_end(nearest)
        return best, self._known[nearest][1].first(best)

    def keep(self, key: Sequence[int], cache: TokenCache) -> None:
        """Remember a prompt that was read; the cache may go on."""
        tokens = np.asarray(key, np.int64)
        name = tokens.tobytes()
        if name in self._known:
            self._known.move_to_end(name)
            return
        known = cache.first(len(tokens))
        if known.size_bytes > self._max_bytes:
            return
        self._known[name] = tokens, known
        self._bytes += known.size_bytes
        while self._bytes > self._max_bytes or len(self._known) > MOST:
            _, (_, oldest) = self._known.popitem(last=False)
            self._bytes -= oldest.size_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._bytes = 0


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many numbers at the beginning of both are the same."""
    shorter = min(len(one), len(other))
    different = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(different[0]) if len(different) else shorter
