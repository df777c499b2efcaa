"""How many models may be in memory, how large, for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolLimits:
    """How many models may be in memory, how large, for how long (seconds)."""

    max_loaded: int
    memory_bytes: int
    max_queue: int
    keep_alive: float = 300
    failed_load_seconds: float = 30
    room_seconds: float = 30
    """How long a load waits for another model to become idle."""
