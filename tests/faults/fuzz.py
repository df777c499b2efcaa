"""`make fuzz`: mutations of small bodies, good and bad, against a live server; exit 1 when one hurts it.

Promise 1: no answer that the route does not declare, no 500, no dropped connection, the same process at the end.
Promise 31: nothing internal in any answer, neither key nor picture in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = str(TESTS)
os.environ["HF_HUB_OFFLINE"] = "1"

from faults.scenarios.mutations import mutated, mutated_json  # noqa: E402
from faults.scenarios.targets import KEY, KINDS  # noqa: E402
from faults.seeds import seeds  # noqa: E402
from fixtures.live import LiveServer  # noqa: E402
from fixtures.raw_http import RawAnswer, read_from  # noqa: E402
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied  # noqa: E402
from fixtures.waiting import eventually  # noqa: E402

CONNECTIONS = 6
PATIENCE = 60
SETTINGS = {
    "VISION_LOG_LEVEL": "WARNING",
    "VISION_API_KEYS": KEY,
    "VISION_MAX_LOADED_MODELS": "8",
    "VISION_PRELOAD": f"{LLAVA_ID},talker,echo,rapidocr",
    "VISION_ANALYZE_SECONDS": "5",  # some conversations lose their limit of tokens
}
SECRETS = re.compile(rf"{KEY}|iVBORw0|\\x89PNG")
Declared = Mapping[str, Mapping[int, str]]
"""Of each route, what the OpenAPI document says of each status: its codes."""


@dataclass
class Outcome:
    """What mutations have led to."""

    statuses: Counter[int] = field(default_factory=Counter)
    """0: the connection was dropped."""
    server_errors: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of the mutations that got a 5xx, a declared one as well, by route and code."""
    routes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    """What is wrong with the answer, by the number of the mutation, which makes it again."""
    leaks: dict[int, str] = field(default_factory=dict)
    tracebacks: int = 0
    secrets_in_log: int = 0
    decoders_lost: int = 0
    has_survived: bool = False

    @property
    def is_good(self) -> bool:
        return self.has_survived and not (self.faults or self.leaks or self.tracebacks or self.secrets_in_log)


def requests(count: int, first: int) -> Iterator[tuple[int, str, bytes]]:
    """(number, route, request); a number makes the same request again."""
    known = seeds()
    weights = [kind.weight for kind in KINDS.values()]
    for number in range(first, first + count):
        chance = random.Random(number)
        (name,) = chance.choices(list(KINDS), weights)
        mutate = mutated_json if KINDS[name].is_json and chance.random() < 0.6 else mutated
        donors = known[name] if chance.random() < 0.5 else known[chance.choice(list(KINDS))]
        data = mutate(chance.choice(known[name]), chance.choice(donors), chance)
        target = chance.choice(KINDS[name].targets)
        yield number, target.route, target.request(data)


def complaint(answer: RawAnswer, declared: Mapping[int, str]) -> str | None:
    """What promise 1 has against an answer."""
    if answer.status == 500 or answer.status not in declared:
        return f"{answer.status} {answer.body[:200]!r}"
    if answer.status != 200 and answer.code != "None" and f"`{answer.code}`" not in declared[answer.status]:
        return f"{answer.status} with {answer.code}"
    return None


async def _send_all(port: int, work: Iterator[tuple[int, str, bytes]], declared: Declared, outcome: Outcome) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number, route, data in work:
        outcome.routes[route] += 1
        try:
            writer.write(data)
            async with asyncio.timeout(PATIENCE):
                answer = await read_from(reader)
        except (OSError, EOFError, ValueError) as error:
            outcome.statuses[0] += 1
            outcome.faults[number] = f"{route}: {type(error).__name__}"
            is_closed = True
        else:
            _judge(number, route, answer, declared[route], outcome)
            if (leak := answer.leak) and leak not in data:  # else it is the client's own words
                outcome.leaks[number] = f"{route}: {leak!r}"
            is_closed = answer.is_closed
        if is_closed:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


def _judge(number: int, route: str, answer: RawAnswer, declared: Mapping[int, str], outcome: Outcome) -> None:
    outcome.statuses[answer.status] += 1
    if answer.status >= 500:
        outcome.server_errors.setdefault(f"{route} {answer.status} {answer.code}", []).append(number)
    if wrong := complaint(answer, declared):
        outcome.faults[number] = f"{route}: {wrong}"


async def fuzz(server: LiveServer, count: int, first: int = 0) -> Outcome:
    """Send mutations on a few connections, and look at what they got and at what they left."""
    document = server.client.get("/openapi.json").raise_for_status().json()
    declared = {
        route: {int(status): answer["description"] for status, answer in methods["post"]["responses"].items()}
        for route, methods in document["paths"].items()
        if "post" in methods
    }
    outcome, work = Outcome(), requests(count, first)
    await asyncio.gather(*(_send_all(server.port, work, declared, outcome) for _ in range(CONNECTIONS)))
    outcome.has_survived = server.process.poll() is None and server.client.get("/livez").status_code == 200
    outcome.decoders_lost = int(server.metric("llm_vision_decoders_lost_total"))
    outcome.tracebacks = server.log.count("Traceback")
    outcome.secrets_in_log = len(SECRETS.findall(server.log))
    return outcome


def run(count: int, first: int = 0) -> Outcome:
    """The same against a server of its own, which asks for a key and has the tiny LLaVA."""
    with tempfile.TemporaryDirectory() as folder:
        copied(LLAVA, Path(folder) / "volume" / LLAVA_ID)
        settings = {**SETTINGS, "TRANSFORMERS_CACHE": str(Path(folder) / "volume")}
        server = LiveServer(Path(folder), settings)
        server.client.headers["X-API-Key"] = KEY
        try:
            eventually(lambda: server.client.get("/readyz").status_code == 200)
            return asyncio.run(fuzz(server, count, first))
        finally:
            server.stop()


def report(found: Outcome) -> str:
    """What to know about a run, with the numbers that make its faults again."""
    again = sorted((found.faults | found.leaks).items())[:20]
    lines = [
        f"requests by route: {dict(sorted(found.routes.items()))}",
        f"answers by status: {dict(sorted(found.statuses.items()))}",
        *(f"  {len(ns)} times {what}: --first {ns[0]} --count 1" for what, ns in sorted(found.server_errors.items())),
        f"undeclared, 500 or dropped: {len(found.faults)}, with something internal: {len(found.leaks)}",
        *(f"  --first {number} --count 1: {wrong}" for number, wrong in again),
        f"tracebacks: {found.tracebacks}, secrets in the log: {found.secrets_in_log}",
        f"same process alive: {found.has_survived}, decoder processes lost: {found.decoders_lost}",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Send mutated bodies to a live server.")
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation; a number is repeatable")
    options = parser.parse_args()
    started = time.monotonic()
    found = run(options.count, options.first)
    known = sum(map(len, seeds().values()))
    print(f"{options.count} mutations of {known} seeds in {time.monotonic() - started:.0f} s")
    print(report(found))
    return 0 if found.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
