"""How many requests a client may send in a minute: a bucket of tokens for each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ..errors import RateLimited

MOST_CLIENTS = 10_000
"""Of whom something is remembered."""
_MINUTE = 60.0
_ROUNDING = 1e-6  # seconds


class RateLimit:
    """Buckets that hold a minute's requests and are refilled continuously.

    Of a bucket nothing is kept but the time at which it is full again.

    Args:
        per_minute: requests of one client; 0: as many as it likes.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def take(self, client: str) -> None:
        """One token of the client's bucket.

        Raises:
            RateLimited: it has none; `retry_after` says when it has one.
        """
        if not self._per_minute:
            return
        now = self._clock()
        full_at = max(self._full_at.get(client, now), now) + _MINUTE / self._per_minute
        wait = full_at - now - _MINUTE
        if wait > _ROUNDING:
            raise RateLimited(
                f"at most {self._per_minute} requests in a minute (VISION_KEY_REQUESTS_PER_MINUTE)",
                retry_after=math.ceil(wait - _ROUNDING),
            )
        self._full_at[client] = full_at
        if len(self._full_at) > MOST_CLIENTS:
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Drop full buckets, which are as good as none, and those nearest to full until half of the places are free."""
        lacking = {client: full_at for client, full_at in self._full_at.items() if full_at > now}
        emptiest = sorted(lacking, key=lacking.__getitem__)[-MOST_CLIENTS // 2 :]
        self._full_at = {client: lacking[client] for client in emptiest}
