"""Figures of what goes wrong: clients that leave, models that hang or crash, loads that fail, a stop."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

from faults.figure import Figure, all_of, at_most, exactly, server
from faults.scenarios import chatting, first_requests, leaving
from fixtures.chat_requests import CHAT_ROUTES


async def leaving_figures() -> list[Figure]:
    with server() as live:
        found = await leaving.departures(live)
    return [
        *(
            at_most(10, f"left during {where}: stopped after", s * 1000, 250, "ms", 0)
            for where, s in found.seconds.items()
        ),
        exactly(10, "runs of a queued request that left", found.runs_of_the_queued, 0),
        *await chat_leaving_figures(),
    ]


async def chat_leaving_figures() -> list[Figure]:
    with server() as live:
        left = [await chatting.leave_stream(live, route) for route in CHAT_ROUTES]
    with tempfile.TemporaryDirectory() as folder, server(first_requests.settings(Path(folder))) as live:
        reading = await chatting.leave_reading(live)
    slowest, whole = max(one.stopped_after for one in left), reading.whole
    return [
        at_most(10, "left during a stream: stopped after", slowest * 1000, 250, "ms", 0),
        at_most(10, f"words of {chatting.LONG} said to nobody", max(one.said for one in left) - 1, 3, "words", 0),
        at_most(10, f"left while {whole:.1f} s are read: next answer", reading.next_after * 1000, 250, "ms", 0),
    ]


async def recovery_figures() -> list[Figure]:
    with server(leaving.HANG_SETTINGS) as live:
        hung = await leaving.hang(live)
    crashes = []
    for number in (signal.SIGKILL, signal.SIGSEGV):
        with server() as live:
            crashes.append(await leaving.crash(live, number))
    with server() as live:
        _, tries, load = await leaving.broken_load(live)
    over = hung.slowest - leaving.HANG_SECONDS
    mishaps = {do: await _mishap(do) for do in leaving.MISHAPS}
    return [
        exactly(11, "of 50 that hang, answered 504", hung.outcomes[504, "deadline_exceeded"], 50),
        at_most(11, "slowest answer behind its deadline", over, 1, "s"),
        exactly(11, "good ones behind them", hung.good[200], 50),
        at_most(15, "crash told after", max(crash.slowest for crash in crashes), 1, "s"),
        at_most(15, "next good answer, with the load", max(crash.good_after for crash in crashes), 5, "s"),
        exactly(29, "loads tried by 100 requests", tries, 1),
        at_most(37, "good answer after a hang", hung.good_after, 5, "s"),
        at_most(37, "good answer after a repaired load", load.good_after, 5, "s"),
        *(at_most(37, f"good answer after {what}", mishaps[do], 5, "s") for do, what in leaving.MISHAPS.items()),
    ]


async def _mishap(do: str) -> float:
    with server() as live:
        return await leaving.mishap(live, do)


async def shutdown_figures() -> list[Figure]:
    with server() as live:
        found = await leaving.shutdown(live)
    with server() as live:
        streams = await chatting.stop_while_streaming(live, count=100)
    with server() as live:
        forced = await leaving.second_signal(live)
    with server() as live:
        orphaned = await leaving.orphans(live)
    left = (found.exit_status, found.children_left, len(found.files_left))
    told = f"{forced.answer.status} {forced.answer.code}"
    return [
        exactly(12, "of 8 running, 1 loading, 1 uploading, answered", found.answers[200, None], 10),
        all_of(12, "streams that come to their end", sum(streams.are_done), len(streams.are_done), 2),
        at_most(12, "end after SIGTERM", found.seconds, 30, "s"),
        exactly(12, "exit status, children, files left", left, (0, 0, 0)),
        exactly(12, "waits for one that hangs, until a second SIGTERM", forced.first_waited, wanted=True),
        at_most(12, "end after that", forced.seconds, 1, "s"),
        exactly(12, "exit status, children left", (forced.exit_status, forced.children_left), (0, 0)),
        exactly(12, "what the one that hangs is told", told, "503 shutting_down"),
        at_most(12, "models and decoders gone after kill -9 of the gateway", orphaned, 1, "s"),
    ]
