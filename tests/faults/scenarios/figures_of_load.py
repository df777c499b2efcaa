"""Figures of what is too much: pictures, bodies, requests, slow and greedy clients."""

from __future__ import annotations

from faults.figure import MEBIBYTE, Figure, at_least, at_most, exactly, server
from faults.scenarios import bodies, chatting, memory, other_servers, overload, slow_clients
from fixtures.crowd import Timed, percentile

LARGE_KINDS = ("PNG", "JPEG", "progressive", "WEBP", "AVIF")


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
    with server(overload.QUEUE_SETTINGS) as live:
        queued = await overload.long_queue(live)
    with server() as live:
        beside_load = await overload.slow_load(live, seconds=30)
    refused = seconds_of(answers, 429)
    return [
        exactly(8, "accepted of 200 at once", burst.by_outcome[200, None], 33),
        exactly(8, "refused with 429 and Retry-After", sum(found.retry_after for found in burst.refusals), 167),
        exactly(8, "decoded pictures", burst.decoded, 33),
        at_most(8, "slowest refusal", max(seconds_of(burst.answers, 429)), 1, "s"),
        at_most(8, "429 at 50 new requests a second, p99", percentile(refused, 0.99) * 1000, 100, "ms", 0),
        *_queue_figures(queued),
        at_most(9, "/livez at 50 requests a second, p99", _milliseconds(probes, 0.99), 50, "ms", 1),
        at_most(9, "/livez during a load of 30 s, p99", _milliseconds(beside_load, 0.99), 50, "ms", 1),
        at_most(9, "/livez beside 200 at once, slowest", _milliseconds(burst.probes, 1), 250, "ms", 0),
        exactly(9, "/livez refused", sum(p.status != 200 for p in (*probes, *beside_load, *burst.probes)), 0),
    ]


def _queue_figures(queued: list[Timed]) -> list[Figure]:
    """Of a queue that takes 6.6 s, in which nobody may wait longer than 2."""
    may_wait = overload.QUEUE_SECONDS
    told = seconds_of(queued, 200) + seconds_of(queued, 429)
    return [
        exactly(8, f"of {len(queued)} in a long queue, answered or refused", len(told), len(queued)),
        at_least(8, f"of these, refused after {may_wait} s of waiting", len(seconds_of(queued, 429)), 10),
        at_most(8, f"longest wait where {may_wait} s are allowed", max(told), may_wait + 1, "s"),
    ]


def _milliseconds(probes: list[Timed], share: float) -> float:
    return percentile([probe.seconds for probe in probes], share) * 1000


async def other_server_figures() -> list[Figure]:
    with server(other_servers.SETTINGS) as live:
        found = await other_servers.costly_answers(live)
    slowest, alone = _milliseconds(found.beside, 1), _milliseconds(found.alone, 1)
    return [
        exactly(9, "answers of other servers that cost too much, told so", set(found.codes), {"image_fetch_failed"}),
        at_most(9, f"/livez beside these, slowest (alone {alone:.0f} ms)", slowest, max(250, 3 * alone), "ms", 0),
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
    with server(overload.FAIR_KEYS) as live:
        costly = [await overload.fairness_of_pictures(live, in_parallel=count) for count in (2, 40)]
    return [
        at_most(32, "polite p95 beside a greedy client, to alone", read.ratio, 2, "x"),
        at_most(32, "crops beside two pictures of 1,600 words", costly[0].ratio, 2, "x"),
        at_most(32, "crops beside forty of them", costly[1].ratio, 2, "x"),
        at_most(32, "the same of conversations", talked.ratio, 2, "x"),
        exactly(32, "polite requests refused", sum(found.refused_polite for found in (read, talked, *costly)), 0),
    ]
