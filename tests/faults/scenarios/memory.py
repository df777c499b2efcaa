"""What requests cost in memory: the gateway, its workers and its decoders together, sampled while they run."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
from PIL import Image

from fixtures.bad_pictures import ROWS
from fixtures.crowd import Timed, all_at_once, ask
from fixtures.encoding import saved
from fixtures.live import LiveServer
from fixtures.requests import picture_request

MEBIBYTE = 1024 * 1024
PAGE_BYTES = 4096
SIDES = (8000, 6250)
SIDES_OF_WEBP = (6250, 5000)


def resident_bytes(server: LiveServer) -> int:
    """Resident memory of the gateway and all its processes now."""
    total = 0
    for pid in (server.process.pid, *(child.pid for child in server.children())):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            continue
    return total


class Peak:
    """The most resident memory while something runs, looked at every few milliseconds."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.bytes = resident_bytes(server)
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.is_set():
            try:
                self.bytes = max(self.bytes, resident_bytes(self._server))
            except psutil.Error:
                continue
            time.sleep(0.003)

    def end(self) -> int:
        self._ended.set()
        self._thread.join()
        return self.bytes


@dataclass(frozen=True)
class Cost:
    """What some requests cost above the rest before them, in bytes, and what they got."""

    bytes: int
    answers: list[Timed]

    @property
    def megabytes(self) -> int:
        return round(self.bytes / MEBIBYTE)


def large_picture(kind: str) -> bytes:
    """A picture at the limit of 50 megapixels (of a WebP: 31), with some text-like structure."""
    sides = SIDES_OF_WEBP if kind == "WEBP" else SIDES
    small = Image.effect_noise((sides[0] // 50, sides[1] // 50), 90).convert("RGB")
    options = {"PNG": {"compress_level": 1}, "WEBP": {"method": 0}, "AVIF": {"speed": 10}}.get(kind, {})
    if kind == "progressive":
        kind, options = "JPEG", {"progressive": True, "subsampling": 0}
    return saved(small.resize(sides, Image.Resampling.BILINEAR), kind, **options)


async def _cost(server: LiveServer, route: str, work: Awaitable[list[Timed]]) -> Cost:
    """Counted from a server at work: an idle one has given memory back that any page takes again."""
    await all_at_once(server.port, [picture_request(_page(), route)] * 4)  # every engine of the reader gets one
    before = resident_bytes(server)
    peak = Peak(server)
    answers = await work
    return Cost(peak.end() - before, answers)


@cache
def _page() -> bytes:
    """A picture of a usual size, 2 megapixels."""
    return saved(Image.effect_noise((1600, 1250), 60).convert("RGB"), "PNG")


async def warm(server: LiveServer) -> None:
    """Models and decoders as they are after some use."""
    for route in ("/analyze_image", "/ocr", "/ocr"):
        await all_at_once(server.port, [picture_request(_page(), route)] * 8)  # every engine of the reader gets one


async def of_accepted(server: LiveServer, kind: str, route: str) -> Cost:
    """One picture of the largest size."""
    data = picture_request(large_picture(kind), route)
    return await _cost(server, route, all_at_once(server.port, [data]))


REFUSED_ROWS = (48, 49, 52, 53, 54, 55, 56, 57, 58, 59, 61)


async def of_refused(server: LiveServer) -> Cost:
    """Every file of the tables that is refused, one after the other."""
    files = [data for row in REFUSED_ROWS for data in ROWS[row][1].values()]

    async def send() -> list[Timed]:
        return [await ask(server.port, picture_request(data)) for data in files]

    return await _cost(server, "/ocr", send())


async def of_bombs(server: LiveServer, count: int = 8) -> Cost:
    """Pictures of the largest size, all at once."""
    requests = [picture_request(large_picture("PNG"), "/ocr")] * count
    return await _cost(server, "/ocr", all_at_once(server.port, requests))
