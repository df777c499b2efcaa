"""`make fuzz`: mutations of the seeds in tests/faults/seeds against a live server; exit 1 when one hurts it.

Promise 1: no undeclared 5xx, no dropped connection, the same process at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
os.environ["PYTHONPATH"] = str(TESTS)
os.environ["HF_HUB_OFFLINE"] = "1"

from fixtures.live import LiveServer  # noqa: E402
from fixtures.multipart import CONTENT_TYPE, field, form, part  # noqa: E402
from fixtures.raw_http import request  # noqa: E402

SEEDS = Path(__file__).parent / "seeds"
CONNECTIONS = 6
DECLARED = {200, 400, 404, 413, 415, 422, 429}
INTERESTING = (0x00, 0x01, 0x7F, 0x80, 0xFF, 0x0A, 0x22, 0x5B, 0x7B)
Seed = tuple[str, bytes]


def seeds() -> list[Seed]:
    """(folder, content) of every seed: `pictures`, `forms` and `json`."""
    return [(path.parent.name, path.read_bytes()) for path in sorted(SEEDS.rglob("*")) if path.is_file()]


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """A few changes of the kinds that find most: bits, bytes, spans, cuts and pieces of another seed."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        if not found:
            break
        at = chance.randrange(len(found))
        span = chance.randrange(1, 33)
        match chance.randrange(7):
            case 0:
                found[at] ^= 1 << chance.randrange(8)
            case 1:
                found[at] = chance.choice(INTERESTING)
            case 2:
                found[at : at + 4] = chance.randbytes(4)
            case 3:
                del found[at : at + span]
            case 4:
                found[at:at] = found[at : at + span] * chance.randrange(1, 5)
            case 5:
                start = chance.randrange(max(1, len(other)))
                found[at : at + span] = other[start : start + span]
            case 6 if chance.random() < 0.2:
                del found[at:]
    return bytes(found)


def as_request(kind: str, data: bytes) -> bytes:
    """The mutated bytes where a server reads such: a picture in a good form, a form, or a JSON body."""
    if kind == "pictures":
        return request("/ocr", form(part(data), field("engine", b"echo")), headers={"Content-Type": CONTENT_TYPE})
    if kind == "forms":
        return request("/ocr", data, headers={"Content-Type": CONTENT_TYPE})
    return request("/models/unload", data, headers={"Content-Type": "application/json"})


def requests(count: int, first: int) -> Iterator[tuple[int, bytes]]:
    """Numbered requests; a number makes the same request again."""
    known = seeds()
    for number in range(first, first + count):
        chance = random.Random(number)
        kind, data = chance.choice(known)
        _, other = chance.choice(known)
        yield number, as_request(kind, mutated(data, other, chance))


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1]), b"connection: close" in head


async def _send_all(port: int, work: Iterator[tuple[int, bytes]], outcomes: Counter[int], bad: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number, data in work:
        try:
            writer.write(data)
            async with asyncio.timeout(60):
                status, closes = await _answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            status, closes = 0, True
        outcomes[status] += 1
        if status not in DECLARED:
            bad.append(number)
        if closes:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def fuzz(server: LiveServer, count: int, first: int) -> tuple[Counter[int], list[int]]:
    """Statuses (0: the connection was dropped), and the numbers of requests that got an undeclared one."""
    outcomes: Counter[int] = Counter()
    bad: list[int] = []
    work = requests(count, first)
    await asyncio.gather(*(_send_all(server.port, work, outcomes, bad) for _ in range(CONNECTIONS)))
    return outcomes, bad


def main() -> int:
    parser = argparse.ArgumentParser(description="Send mutated bodies to a live server.")
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation; a number is repeatable")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder), {"VISION_LOG_LEVEL": "WARNING"})
        outcomes, bad = asyncio.run(fuzz(server, options.count, options.first))
        survived = server.process.poll() is None and server.client.get("/livez").status_code == 200
        lost = [line for line in server.client.get("/metrics").text.splitlines() if "decoders_lost_total " in line]
        tracebacks = server.log.count("Traceback")
        server.stop()
    print(f"{options.count} mutations of {len(seeds())} seeds in {time.monotonic() - started:.0f} s")
    print("answers by status:", dict(sorted(outcomes.items())))
    print(f"undeclared: {len(bad)} {bad[:10]}, tracebacks: {tracebacks}, same process alive: {survived}")
    print(f"decoder processes lost: {float(lost[-1].split()[-1]):.0f}")
    return 1 if bad or tracebacks or not survived else 0


if __name__ == "__main__":
    sys.exit(main())
