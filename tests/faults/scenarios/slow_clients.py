"""200 clients that stall in five ways, beside honest ones."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from fixtures.crowd import Timed, ask, percentile
from fixtures.live import LiveServer
from fixtures.requests import ocr_request

HEAD = b"POST /ocr HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
KINDS = {
    "says nothing": (b"", b""),
    "stops in the head": (HEAD, b""),
    "drips the head": (HEAD, b"X-Slow: yes\r\n" * 1000),
    "stops in the body": (HEAD + b"Content-Length: 100000\r\n\r\nabc", b""),
    "drips the body": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
}


@dataclass(frozen=True)
class Stalled:
    """Seconds until each stalled connection was closed, by kind, and what honest clients waited."""

    closed_after: dict[str, list[float]]
    alone: list[float]
    beside: list[float]
    honest_statuses: set[int]

    @property
    def slowdown(self) -> float:
        """How much the honest 95th percentile grew."""
        return percentile(self.beside, 0.95) / percentile(self.alone, 0.95) - 1


async def _stall(server: LiveServer, kind: str, patience: float) -> float:
    start, drip = KINDS[kind]
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    ended = asyncio.ensure_future(reader.read(-1))
    try:
        writer.write(start)
        position = 0
        while not ended.done() and time.perf_counter() - started < patience:
            if drip:
                writer.write(drip[position : position + 1])
                position += 1
            await asyncio.wait({ended}, timeout=0.5)
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
        writer.close()
    return time.perf_counter() - started


async def _honest(server: LiveServer, count: int) -> list[Timed]:
    found = []
    for _ in range(count):
        found.append(await ask(server.port, ocr_request("slow")))
        await asyncio.sleep(0.02)
    return found


async def stalled_clients(server: LiveServer, each: int, patience: float, honest: int) -> Stalled:
    """Stall `each` connections of every kind, and ask honestly meanwhile."""
    await ask(server.port, ocr_request())
    alone = await _honest(server, honest)
    stalls = {kind: [asyncio.create_task(_stall(server, kind, patience)) for _ in range(each)] for kind in KINDS}
    await asyncio.sleep(0.5)
    beside = await _honest(server, honest)
    closed = {kind: list(await asyncio.gather(*tasks)) for kind, tasks in stalls.items()}
    statuses = {answer.status for answer in (*alone, *beside)}
    return Stalled(closed, [a.seconds for a in alone], [a.seconds for a in beside], statuses)
