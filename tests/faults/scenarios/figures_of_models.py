"""Figures of the tiny MangaOCR and the tiny LLaVA with many clients."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from faults.figure import MEBIBYTE, Figure, at_most, exactly, server
from faults.scenarios import chatting, first_requests

BURSTS = 20
PICTURES, ROUNDS, TALKS = 500, 3, 60


async def model_figures() -> list[Figure]:
    return await asyncio.to_thread(_model_figures)


def _model_figures() -> list[Figure]:
    calls, asked = first_requests.mixed_calls(), first_requests.questions(PICTURES, seed=25)
    with tempfile.TemporaryDirectory() as folder, server(first_requests.settings(Path(folder), PICTURES)) as live:
        bursts = [first_requests.burst(live, calls) for _ in range(BURSTS)]
        alone = first_requests.one_by_one(live, calls)
        one, ten = (first_requests.burst(live, asked[:count]).peak_bytes for count in (1, 10))
        apart = first_requests.one_by_one(live, asked)
        crossed = sum(
            answer != right
            for _ in range(ROUNDS)
            for answer, right in zip(first_requests.at_once(live, asked), apart, strict=True)
        )
        talks = chatting.conversations(TALKS * 2 // 3, seed=27)
        streamed = chatting.at_once(live, talks)
        live.client.post("/models/unload", json={"model": chatting.LLAVA_ID})
        mixed = sum(text != right for text, right in zip(streamed, chatting.one_by_one(live, talks), strict=True))
    return [
        exactly(
            2, f"loads of two models by {len(calls)} first calls, {BURSTS} runs", {b.loads for b in bursts}, {(1, 1)}
        ),
        exactly(2, "processes", {found.processes for found in bursts}, {2}),
        exactly(2, "answers unlike those one by one", sum(found.answers != alone for found in bursts), 0),
        at_most(2, f"peak memory of ten first clients, to {one / MEBIBYTE:.0f} MiB of one", ten / one, 1.1, "x"),
        exactly(18, f"answers to another picture, {PICTURES} at once, {ROUNDS} times", crossed, 0),
        exactly(18, f"streams about another picture, {TALKS} at once", mixed, 0),
    ]
