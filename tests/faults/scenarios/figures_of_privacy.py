"""Figures of what one key can find out of what another one asked."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from faults.figure import Figure, all_of, at_most, exactly, server
from faults.scenarios import oracle
from faults.scenarios.oracle import Round

ROUNDS, CONTROLS = 500, 50
CHANCE = 0.07
"""How far 500 guesses of each kind may seem to tell something by chance, in one of ten thousand measurements."""


async def privacy_figures() -> list[Figure]:
    apart = await asyncio.to_thread(_guesses, {}, ROUNDS)
    shared = await asyncio.to_thread(_guesses, {"VISION_SHARED_CACHE": "on"}, CONTROLS)
    requests = 4 * ROUNDS
    again = sum(one.second.reused > oracle.WORDS for one in apart)
    faster = _mean([one.second.seconds for one in apart]) / _mean([one.first.seconds for one in apart])
    return [
        exactly(31, f"tokens known of another key's, {requests} requests", sum(one.right.reused for one in apart), 0),
        at_most(31, "guesses that time tells apart, beyond chance", abs(_told(apart) - 0.5), CHANCE, ""),
        exactly(31, "the same guesses work with VISION_SHARED_CACHE=on", _told(shared) > 0.9, wanted=True),
        all_of(31, "one's own second question is known", again, len(apart), ROUNDS),
        at_most(31, "and takes, of the time of the first", faster, 0.8, "x"),
    ]


def _guesses(environment: dict[str, str], rounds: int) -> list[Round]:
    with tempfile.TemporaryDirectory() as folder, server({**oracle.settings(Path(folder)), **environment}) as live:
        oracle.guess(live, 2, seed=1)  # loads the model
        return oracle.guess(live, rounds, seed=2)


def _told(rounds: list[Round]) -> float:
    return oracle.told_apart([one.right.seconds for one in rounds], [one.wrong.seconds for one in rounds])


def _mean(seconds: list[float]) -> float:
    return sum(seconds) / len(seconds)
