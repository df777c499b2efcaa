"""Figures of schemas that cost much: what others notice of them, and what their processes take."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from tokenizers import Tokenizer

from faults.figure import MEBIBYTE, Figure, at_most, exactly
from fixtures.chat_requests import OPENAI, Stream, chat_body, post_chat
from fixtures.live import LiveServer
from fixtures.nasty_schemas import NASTY, Schema, as_tools, intersections
from fixtures.sound_schemas import SCHEMAS
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied
from fixtures.waiting import PATIENCE, eventually
from llm_vision.models.grammar.constraints import Constraints
from llm_vision.models.grammar.grammar import Grammars
from llm_vision.models.grammar.messages import USUAL_LIMITS
from llm_vision.models.tasks.chat import ResponseFormat, response_format_from_json

GENERATED = 2000
SOUND = 100
"""Schemas beside which a pause of others is taken for usual."""
ONE_OF_FEW = {"enum": ["red", "blue"]}
AT_ONCE = 3
"""Clients that send such schemas."""
PAUSE_SECONDS = 0.1
"""Beyond one step, that somebody else's next token may take."""
ROUNDS = 7
NUMBERS = {"type": "json_schema", "json_schema": {"name": "numbers", "schema": {
    "type": "array", "items": {"type": "integer"}, "minItems": 1000}}}  # fmt: skip
"""A sound schema of long answers."""


@dataclass
class Beside:
    """What was seen while schemas were sent."""

    statuses: Counter[int] = field(default_factory=Counter)
    longest_pause: float = 0.0
    """Seconds between two tokens of somebody else."""
    memory: int = 0
    """Bytes, of the largest process of a schema."""
    cpu_seconds: float = 0.0
    """Of the busiest one."""


async def grammar_figures() -> list[Figure]:
    return await asyncio.to_thread(_figures)


def _figures() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        copied(LLAVA, Path(folder) / "volume" / LLAVA_ID)
        settings = {"TRANSFORMERS_CACHE": str(Path(folder) / "volume"), "VISION_PRELOAD": LLAVA_ID}
        server = LiveServer(Path(folder), settings)
        try:
            eventually(lambda: server.client.get("/readyz").status_code == 200)
            alone = _send(server, [ONE_OF_FEW] * SOUND)
            beside = _send(server, [*NASTY.values(), *intersections(GENERATED)])
            restarts = server.metric("llm_vision_worker_restarts_total")
        finally:
            server.stop()
    others = sum(count for status, count in beside.statuses.items() if status not in (200, 400, 422))
    step = alone.longest_pause
    limit = USUAL_LIMITS.memory_bytes / MEBIBYTE
    return [
        exactly(1, f"of {beside.statuses.total()} nasty schemas: neither followed nor refused", others, 0),
        exactly(1, "models that were started again meanwhile", restarts, 0),
        at_most(
            32,
            f"others' longest pause, beyond the longest of {step * 1000:.0f} ms beside sound schemas",
            max(0.0, beside.longest_pause - step),
            PAUSE_SECONDS,
            "s",
        ),
        at_most(6, "memory of the largest process of a schema", beside.memory / MEBIBYTE, limit, "MiB", 0),
        at_most(11, "CPU time of the busiest one", beside.cpu_seconds, USUAL_LIMITS.cpu_seconds + 1, "s"),
        at_most(32, f"time to first token of {len(SCHEMAS)} sound schemas, to compiling alone", _cost(), 1.2, "x"),
    ]


def _send(server: LiveServer, schemas: Iterable[Schema]) -> Beside:
    """Send schemas, each as a format and as a tool's, beside two clients that read long answers."""
    seen, is_over = Beside(), threading.Event()
    with ThreadPoolExecutor(AT_ONCE + 2) as threads:
        watches = [threads.submit(watch, server, seen, is_over) for watch in (_read_answers, _watch_processes)]
        try:
            seen.statuses.update(
                threads.map(lambda body: post_chat(server.port, OPENAI, body).status, _bodies(schemas))
            )
        finally:
            is_over.set()
        for watch in watches:
            watch.result()
    return seen


def _bodies(schemas: Iterable[Schema]) -> Iterator[dict[str, Any]]:
    for number, schema in enumerate(schemas):
        form = {"type": "json_schema", "json_schema": {"name": "nasty", "schema": schema}}
        told = (
            {"tools": as_tools([schema]), "tool_choice": "required"} if number % 4 == 3 else {"response_format": form}
        )
        yield chat_body(OPENAI, "What is it?", LLAVA_ID, max_tokens=8, **told)


def _read_answers(server: LiveServer, seen: Beside, is_over: threading.Event, **fields: Any) -> None:
    body = chat_body(OPENAI, "Describe the picture.", LLAVA_ID, stream=True, max_tokens=400, temperature=1.9, **fields)
    while not is_over.is_set():
        stream = Stream(server.port, OPENAI, body)
        last = None
        for _ in stream.pieces():
            now = time.perf_counter()
            seen.longest_pause = max(seen.longest_pause, now - (last or now))
            last = now
        stream.close()


def _watch_processes(server: LiveServer, seen: Beside, is_over: threading.Event) -> None:
    while not is_over.is_set():
        for process in psutil.Process(server.process.pid).children(recursive=True):
            try:
                if "llm_vision.models.grammar.server" in process.cmdline():
                    times = process.cpu_times()
                    seen.memory = max(seen.memory, process.memory_info().rss)
                    seen.cpu_seconds = max(seen.cpu_seconds, times.user + times.system)
            except psutil.Error:
                continue
        time.sleep(0.02)


@dataclass
class _Tokenizer:
    """A tokenizer of Transformers, as far as constraints need one."""

    backend_tokenizer: Tokenizer


def _cost() -> float:
    """How much longer the sound schemas take in processes of their own; the best of some rounds of each."""
    backend = Tokenizer.from_file(str(LLAVA / "tokenizer.json"))
    size = backend.get_vocab_size()
    constraints = Constraints(_Tokenizer(backend), frozenset({0}), size)
    grammars = Grammars(backend.to_str(), [0], size)
    here = there = 0.0
    for schema in SCHEMAS.values():
        wanted = response_format_from_json({"type": "json_schema", "schema": schema})
        assert wanted
        here += min(_seconds(lambda one: grammars.grammar(one).mask(), wanted) for _ in range(ROUNDS))
        there += min(_seconds(lambda one: _make(constraints, one), wanted) for _ in range(ROUNDS))
    constraints.close()
    return there / here


def _seconds(make: Callable[[ResponseFormat], object], wanted: ResponseFormat) -> float:
    time.sleep(0.03)  # a process for the next one is made meanwhile
    started = time.perf_counter()
    make(wanted)
    return time.perf_counter() - started


def _make(constraints: Constraints, wanted: ResponseFormat) -> None:
    constraint = constraints.constraint(wanted)
    assert constraint.is_ready(PATIENCE)
    constraint.close()
