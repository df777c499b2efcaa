"""`make soak`: mixed traffic with bad clients for a long time; exit 1 when something grows or goes wrong.

Promise 25: after the warm-up memory grows by less than 1 MB a minute; file handles, threads and processes stay;
no 5xx; the 99th percentile drifts by less than a tenth. `--leak` runs a build that leaks 1 MB in 100 requests,
which the same look must find.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

TESTS = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = str(TESTS)
os.environ["HF_HUB_OFFLINE"] = "1"

from faults.scenarios.memory import resident_bytes  # noqa: E402
from faults.scenarios.traffic import break_off, leave_stream, requests, status_of  # noqa: E402
from fixtures.crowd import ask, percentile  # noqa: E402
from fixtures.live import LiveServer  # noqa: E402
from fixtures.requests import ocr_request  # noqa: E402

MEBIBYTE = 1024 * 1024
SAMPLE_SECONDS = 2.0
WARM_UP = 0.3
"""Share of the time that is not looked at."""
PAUSE = 0.25
"""Seconds between the requests of a client: as fast as two cores answer, with room."""
CLIENTS = 8
LEAVES_REQUEST, LEAVES_STREAM = 0.05, 0.03
"""Shares of what a client does."""
LONG_MINUTES = 10
LEAST_A_MINUTE = 334
"""Requests: 10,000 in half an hour."""
MOST_GROWTH = 1.0
MOST_GROWTH_SHORT = 200.0
"""In two minutes the models' processes take memory in steps of tens of MiB, each time a shape is new to one of them,
and give some back after two idle seconds, to take it again. What leaks with requests shows in the gateway's own growth.
"""
MOST_OWN_GROWTH_SHORT = 4.0
"""MB a minute; in a few minutes allocators still settle, and the leak that must be found is five times that."""
MOST_DRIFT = 0.10
PLAY = {"handles": 2, "threads": 2, "children": 0}
"""How many more there may be in the last third: pools start a thread when so many first work at the same time."""


@dataclass
class Traffic:
    """What was sent and answered."""

    statuses: dict[int, int] = field(default_factory=dict)
    timed: list[tuple[float, float]] = field(default_factory=list)
    """(when, seconds) of the requests whose time is compared: all of one kind."""
    broken_off: int = 0
    streams_left: int = 0

    def note(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    @property
    def requests(self) -> int:
        """All that were sent."""
        return sum(self.statuses.values()) + self.broken_off + self.streams_left


@dataclass(frozen=True)
class Sample:
    """The service at one time."""

    at: float
    resident: int
    """All processes together, in bytes."""
    gateway: int
    """Of these, the gateway."""
    handles: int
    """Without those of clients that are being answered."""
    threads: int
    children: int


async def client(server: LiveServer, number: int, ends: float, traffic: Traffic) -> None:
    """One client among many; now and then it leaves in the middle of its request, or of an answer."""
    chance = random.Random(number)
    known = requests()
    while time.monotonic() < ends:
        data, kind = chance.choice(known), chance.random()
        if kind < LEAVES_REQUEST:
            await break_off(server.port, data, chance)
            traffic.broken_off += 1
        elif kind < LEAVES_REQUEST + LEAVES_STREAM:
            await leave_stream(server.port, chance)
            traffic.streams_left += 1
        else:
            traffic.note(await status_of(server.port, data))
        await asyncio.sleep(PAUSE * chance.random() * 2)


async def pace_maker(server: LiveServer, ends: float, traffic: Traffic) -> None:
    """One request of the same kind after the other, whose time is compared."""
    data = ocr_request("echo")
    while time.monotonic() < ends:
        answer = await ask(server.port, data)
        traffic.note(answer.status)
        traffic.timed.append((time.monotonic(), answer.seconds))
        await asyncio.sleep(PAUSE)


async def sampler(server: LiveServer, ends: float, samples: list[Sample]) -> None:
    gateway = psutil.Process(server.process.pid)
    while time.monotonic() < ends:
        children = gateway.children()
        found = Sample(
            time.monotonic(),
            resident_bytes(server),
            gateway.memory_info().rss,
            gateway.num_fds() - in_use(gateway),
            gateway.num_threads(),
            len(children),
        )
        samples.append(found)
        await asyncio.sleep(SAMPLE_SECONDS)


def in_use(gateway: psutil.Process) -> int:
    """Connections whose other end is still there: on a busy machine more requests are open at a time."""
    return sum(found.status == psutil.CONN_ESTABLISHED for found in gateway.net_connections("tcp"))


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil-Sen's estimate: the median of the slopes of all pairs, which outliers cannot move."""
    step = max(1, len(points) // 200)
    thinned = points[::step]
    pairs = itertools.combinations(thinned, 2)
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs)


async def soak(server: LiveServer, minutes: float) -> tuple[Traffic, list[Sample]]:
    traffic, samples = Traffic(), list[Sample]()
    ends = time.monotonic() + minutes * 60
    clients = [client(server, number, ends, traffic) for number in range(CLIENTS)]
    await asyncio.gather(*clients, pace_maker(server, ends, traffic), sampler(server, ends, samples))
    return traffic, samples


def judge(traffic: Traffic, samples: list[Sample], minutes: float) -> list[tuple[str, str, bool]]:
    """(what, figure, is it good) for each line of the promise."""
    begins = samples[0].at + WARM_UP * (samples[-1].at - samples[0].at)
    later = [sample for sample in samples if sample.at >= begins]
    is_long = minutes >= LONG_MINUTES
    growth = slope([(sample.at / 60, sample.resident / MEBIBYTE) for sample in later])
    limit = MOST_GROWTH if is_long else MOST_GROWTH_SHORT
    own_growth = slope([(sample.at / 60, sample.gateway / MEBIBYTE) for sample in later])
    own_limit = MOST_GROWTH if is_long else MOST_OWN_GROWTH_SHORT
    timed = [(at, seconds) for at, seconds in traffic.timed if at >= begins]
    half = len(timed) // 2
    first, second = (percentile([seconds for _, seconds in part], 0.99) for part in (timed[:half], timed[half:]))
    server_errors = sum(count for status, count in traffic.statuses.items() if status >= 500)
    lost = traffic.statuses.get(0, 0)
    drift = second / first - 1
    least = LEAST_A_MINUTE * minutes
    lines = [
        ("requests", f"{traffic.requests} (at least {least:.0f})", traffic.requests >= least),
        ("memory grows by", f"{growth:.2f} MB a minute (limit {limit:g})", growth < limit),
        ("of these, the gateway", f"{own_growth:.2f} MB a minute (limit {own_limit:g})", own_growth < own_limit),
        ("answers 5xx", str(server_errors), server_errors == 0),
        ("connections lost", str(lost), lost == 0),
    ]
    third = len(later) // 3
    for name, play in PLAY.items():
        before, after = _middle(later[:third], name), _middle(later[-third:], name)
        lines.append((f"{name} of the gateway", f"{before:g}, then {after:g}", after <= before + play))
    times = f"{first * 1000:.0f} ms, then {second * 1000:.0f} ms"
    lines.append(("p99 of a crop", times, drift < MOST_DRIFT or not is_long))
    return lines


def _middle(samples: list[Sample], name: str) -> float:
    return statistics.median(getattr(sample, name) for sample in samples)


def main() -> int:
    parser = argparse.ArgumentParser(description="Mixed traffic with bad clients for a long time.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--leak", action="store_true", help="run the build that leaks")
    parser.add_argument("--samples", type=Path, help="where to write the samples as JSON lines")
    options = parser.parse_args()
    environment = {
        "VISION_LOG_LEVEL": "WARNING",
        "VISION_MAX_LOADED_MODELS": "8",
        **({"HF_TEST_LEAK": "1"} if options.leak else {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder), environment)
        traffic, samples = asyncio.run(soak(server, options.minutes))
        server.stop()
    if options.samples:
        options.samples.write_text("".join(json.dumps(vars(sample)) + "\n" for sample in samples))
    lines = judge(traffic, samples, options.minutes)
    print(f"{traffic.requests} requests in {options.minutes:g} minutes, {traffic.broken_off} broken off")
    print(f"{traffic.streams_left} streams left in the middle")
    print("answers by status:", dict(sorted(traffic.statuses.items())))
    for what, figure, is_good in lines:
        print(f"  {what:<24} {figure}{'' if is_good else '   MISSED'}")
    return 0 if all(is_good for *_, is_good in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
