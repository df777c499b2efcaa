"""`make faults`: the promises that have a figure, measured on live servers, as a table; exit 1 when one is missed.

pytest proves the outcomes of the same scenarios and never looks at seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

TESTS = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = str(TESTS)
os.environ["HF_HUB_OFFLINE"] = "1"

from faults.figure import Figure, at_most, exactly  # noqa: E402
from faults.scenarios import bodies, chatting, first_requests, leaving, memory, overload, slow_clients  # noqa: E402
from fixtures.chat_requests import CHAT_ROUTES  # noqa: E402
from fixtures.crowd import Timed, percentile  # noqa: E402
from fixtures.live import LiveServer  # noqa: E402

MEBIBYTE = 1024 * 1024
BURSTS = 20
PICTURES, ROUNDS, TALKS = 500, 3, 60
LARGE_KINDS = ("PNG", "JPEG", "progressive", "WEBP", "AVIF")


@contextmanager
def server(environment: Mapping[str, str] | None = None) -> Iterator[LiveServer]:
    with tempfile.TemporaryDirectory() as folder:
        started = LiveServer(Path(folder), environment)
        try:
            yield started
        finally:
            started.stop()


def seconds_of(answers: list[Timed], status: int) -> list[float]:
    return [answer.seconds for answer in answers if answer.status == status]


async def memory_figures() -> list[Figure]:
    with server() as live:
        await memory.warm(live)
        refused = await memory.of_refused(live)
        costs = {
            f"{kind} {route}": await memory.of_accepted(live, kind, route)
            for kind in LARGE_KINDS
            for route in ("/ocr", "/analyze_image")
        }
        bombs = await memory.of_bombs(live)
    worst = max(costs, key=lambda name: costs[name].bytes)
    answered = sum(answer.status == 200 for cost in costs.values() for answer in cost.answers)
    return [
        exactly(6, "pictures of 50 Mpx answered, 5 kinds on 2 routes", answered, len(costs)),
        at_most(6, f"memory for one of them, worst: {worst}", costs[worst].megabytes, 500, "MB", 0),
        at_most(6, f"memory for {len(refused.answers)} refused pictures", refused.megabytes, 20, "MB", 0),
        at_most(6, "memory for 8 of 50 Mpx at once", bombs.megabytes, 1200, "MB", 0),
    ]


async def body_figures() -> list[Figure]:
    with server() as live:
        found = bodies.refusals(live, 20 * MEBIBYTE, 28 * MEBIBYTE)
        held = await bodies.concurrent_uploads(live, count=8, size=10 * MEBIBYTE)
    over = max(refusal.over_limit for refusal in found)
    largest = max(len(refusal.answer.body) for refusal in found)
    return [
        at_most(7, f"read above the limit, worst of {len(found)} encodings", over / 1024, 64, "KiB", 0),
        at_most(7, "error body", largest / 1024, 4, "KiB"),
        at_most(7, "disk for 8 uploads at once", held / MEBIBYTE, 8 * 20, "MiB", 0),
    ]


async def overload_figures() -> list[Figure]:
    with server() as live:
        burst = await overload.burst(live)
    with server() as live:
        answers, probes = await overload.steady_overload(live)
    with server() as live:
        beside_load = await overload.slow_load(live, seconds=30)
    refused = seconds_of(answers, 429)
    return [
        exactly(8, "accepted of 200 at once", burst.by_outcome[200, None], 33),
        exactly(8, "refused with 429 and Retry-After", sum(found.retry_after for found in burst.refusals), 167),
        exactly(8, "decoded pictures", burst.decoded, 33),
        at_most(8, "slowest refusal", max(seconds_of(burst.answers, 429)), 1, "s"),
        at_most(8, "429 at 50 new requests a second, p99", percentile(refused, 0.99) * 1000, 100, "ms", 0),
        at_most(8, "longest wait of an accepted one", max(seconds_of(answers, 200)), 30.5, "s"),
        at_most(9, "/livez at 50 requests a second, p99", _milliseconds(probes, 0.99), 50, "ms", 1),
        at_most(9, "/livez during a load of 30 s, p99", _milliseconds(beside_load, 0.99), 50, "ms", 1),
        at_most(9, "/livez beside 200 at once, slowest", _milliseconds(burst.probes, 1), 250, "ms", 0),
        exactly(9, "/livez refused", sum(p.status != 200 for p in (*probes, *beside_load, *burst.probes)), 0),
    ]


def _milliseconds(probes: list[Timed], share: float) -> float:
    return percentile([probe.seconds for probe in probes], share) * 1000


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
    return [
        exactly(11, "of 50 that hang, answered 504", hung.outcomes[504, "deadline_exceeded"], 50),
        at_most(11, "slowest answer behind its deadline", over, 1, "s"),
        exactly(11, "good ones behind them", hung.good[200], 50),
        at_most(15, "crash told after", max(crash.slowest for crash in crashes), 1, "s"),
        at_most(15, "next good answer, with the load", max(crash.good_after for crash in crashes), 5, "s"),
        exactly(29, "loads tried by 100 requests", tries, 1),
        at_most(37, "good answer after a hang", hung.good_after, 5, "s"),
        at_most(37, "good answer after a repaired load", load.good_after, 5, "s"),
    ]


async def shutdown_figures() -> list[Figure]:
    with server() as live:
        found = await leaving.shutdown(live)
    with server() as live:
        await asyncio.sleep(0.3)
        live.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.05)
        live.process.send_signal(signal.SIGTERM)
        again = time.perf_counter()
        status = await asyncio.to_thread(live.process.wait, 30)
        second = time.perf_counter() - again
    with server() as live:
        orphaned = await leaving.orphans(live)
    left = (found.exit_status, found.children_left, len(found.files_left))
    return [
        exactly(12, "of 8 running, 1 loading, 1 uploading, answered", found.answers[200, None], 10),
        at_most(12, "end after SIGTERM", found.seconds, 30, "s"),
        exactly(12, "exit status, children, files left", left, (0, 0, 0)),
        at_most(12, f"end after a second SIGTERM, status {status}", second, 1, "s"),
        at_most(12, "models and decoders gone after kill -9 of the gateway", orphaned, 1, "s"),
    ]


async def slow_client_figures() -> list[Figure]:
    with server() as live:
        found = await slow_clients.stalled_clients(live, each=40, patience=90, honest=40)
    heads = [s for kind, values in found.closed_after.items() if "body" not in kind for s in values]
    in_body = [s for kind, values in found.closed_after.items() if "body" in kind for s in values]
    return [
        at_most(16, f"{len(heads)} stalled in the head closed after", max(heads), 10.6, "s"),
        at_most(16, f"{len(in_body)} stalled in the body closed after", max(in_body), 60.6, "s"),
        at_most(16, "honest p95 grew by", max(0.0, found.slowdown) * 100, 20, "%", 0),
    ]


async def file_figures() -> list[Figure]:
    with server() as live:
        uploads = await bodies.many_uploads(live, good=1000, aborted=300)
    left = []
    for _ in range(20):
        with server() as live:
            left += bodies.kill_while_uploading(live)
    return [
        exactly(26, "good uploads answered", uploads.statuses[200], 1000),
        exactly(26, "entries in TMPDIR after 300 aborted uploads", uploads.entries_left, 0),
        exactly(26, "entries in TMPDIR after 20 times kill -9", len(left), 0),
    ]


async def fairness_figures() -> list[Figure]:
    with server(overload.FAIR_KEYS) as live:
        read = await overload.fairness(live)
    with server(overload.FAIR_KEYS) as live:
        talked = await overload.fairness(live, request_of=chatting.slow_talk)
    return [
        at_most(32, "polite p95 beside a greedy client, to alone", read.ratio, 2, "x"),
        at_most(32, "the same of conversations", talked.ratio, 2, "x"),
        exactly(32, "polite requests refused", read.refused_polite + talked.refused_polite, 0),
    ]


async def start_figures() -> list[Figure]:
    started = time.perf_counter()
    with server() as live:
        ready = time.perf_counter() - started
        await asyncio.sleep(2)
        resident = memory.resident_bytes(live)
        mapped = {os.path.basename(found.path) for found in psutil.Process(live.process.pid).memory_maps()}
    torch = any("torch" in name for name in mapped)
    wrong = {**os.environ, "VISION_PORT": "nine"}
    command = [sys.executable, "-m", "llm_vision.cli.main", "serve"]
    began = time.perf_counter()
    answer = await asyncio.to_thread(subprocess.run, command, env=wrong, capture_output=True, check=False)
    refused = time.perf_counter() - began
    return [
        exactly(36, "exit status of a wrong setting", answer.returncode, 78),
        at_most(36, "after", refused, 3, "s"),
        at_most(38, "/livez after the start", ready, 3, "s"),
        at_most(38, "memory of the idle service, decoder included", resident / MEBIBYTE, 150, "MiB", 0),
        exactly(38, "torch in the gateway", torch, wanted=False),
    ]


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


PARTS: Mapping[str, Callable[[], Awaitable[list[Figure]]]] = {
    "start": start_figures,
    "overload": overload_figures,
    "leaving": leaving_figures,
    "recovery": recovery_figures,
    "shutdown": shutdown_figures,
    "bodies": body_figures,
    "memory": memory_figures,
    "fairness": fairness_figures,
    "files": file_figures,
    "slow": slow_client_figures,
    "models": model_figures,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the promises that have a figure.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    names = parser.parse_args().parts or list(PARTS)
    print(
        f"on {platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print(f"{'#':>2}  {'promise':<62} {'asked':>12} {'reached':>14}")
    missed = 0
    for name in names:
        for figure in asyncio.run(PARTS[name]()):
            mark = "" if figure.met else "   MISSED"
            print(f"{figure.promise:>2}  {figure.what:<62} {figure.asked:>12} {figure.reached:>14}{mark}", flush=True)
            missed += not figure.met
    print(f"\n{missed} missed" if missed else "\nall reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
