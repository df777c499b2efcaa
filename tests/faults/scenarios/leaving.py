"""Clients that leave, models that hang or crash, loads that fail: what is freed, and when the next is served."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from faults.scenarios.overload import ONE_BY_ONE
from fixtures.crowd import Timed, all_at_once, ask
from fixtures.live import LiveServer
from fixtures.raw_http import RawAnswer, read_from
from fixtures.requests import ocr_request, picture_request
from fixtures.waiting import NEVER, PATIENCE, is_alive, until


async def _connect_and_send(server: LiveServer, data: bytes) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    await writer.drain()
    return writer


@dataclass(frozen=True)
class Departures:
    """Seconds from a client's leaving until its work had stopped, by where the request was."""

    seconds: dict[str, float]
    runs_of_the_queued: int


async def departures(server: LiveServer) -> Departures:
    """Leave while uploading, while a model loads, while queued and while the model computes."""
    found = {}
    closed = 'llm_vision_errors_total{code="client_closed"}'
    whole = ocr_request()

    uploading = await _connect_and_send(server, whole[: len(whole) // 2])
    found["upload"] = await _leave(uploading, _one_more(server, closed))

    loading = await _connect_and_send(server, ocr_request(engine="slow-to-load"))
    await until(lambda: server.journal_has("load slow-to-load"))
    found["load"] = await _leave(loading, lambda: server.in_use("slow-to-load") == 0)
    server.journal_path.with_name("may_load").touch()

    running = await _connect_and_send(server, ocr_request("wait_for", ONE_BY_ONE, mark=1))
    await until(lambda: server.journal_has("started 1"))
    queued = await _connect_and_send(server, ocr_request("wait_for", ONE_BY_ONE, mark=2))
    await until(lambda: server.in_use(ONE_BY_ONE) == 2)
    found["queue"] = await _leave(queued, lambda: server.in_use(ONE_BY_ONE) == 1)
    found["compute"] = await _leave(running, lambda: server.journal_has("cancelled 1"))
    await ask(server.port, ocr_request(engine=ONE_BY_ONE))
    return Departures(found, sum(line.startswith("started 2") for line in server.journal))


def _one_more(server: LiveServer, name: str) -> Callable[[], bool]:
    before = server.metric(name)
    return lambda: server.metric(name) == before + 1


async def _leave(writer: asyncio.StreamWriter, is_over: Callable[[], object]) -> float:
    writer.close()
    return await until(is_over)


HANG_SECONDS = 3
HANG_SETTINGS = {"VISION_OCR_SECONDS": str(HANG_SECONDS), "VISION_QUEUE_SIZE": "64"}


@dataclass(frozen=True)
class Recovery:
    """What clients of a fault got, and how long until the next good answer."""

    outcomes: Counter[tuple[int, str | None]]
    slowest: float
    good_after: float
    good: Counter[int]


async def hang(server: LiveServer, count: int = 50) -> Recovery:
    """Requests that never end, then as many good ones."""
    await ask(server.port, ocr_request())
    hung = await all_at_once(server.port, [ocr_request("hang")] * count)
    started = time.perf_counter()
    first = await ask(server.port, ocr_request())
    good_after = time.perf_counter() - started
    rest = await all_at_once(server.port, [ocr_request()] * (count - 1))
    good = Counter(answer.status for answer in (first, *rest))
    return Recovery(_outcomes(hung), max(answer.seconds for answer in hung), good_after, good)


async def crash(server: LiveServer, number: signal.Signals) -> Recovery:
    """The worker of a running request is killed; a request waits behind it."""
    await ask(server.port, ocr_request(engine=ONE_BY_ONE))
    running = asyncio.create_task(ask(server.port, ocr_request("hang", ONE_BY_ONE)))
    started = len([line for line in server.journal if line.startswith("started")])
    await until(lambda: server.journal_has("started", started + 1))
    waiting = asyncio.create_task(ask(server.port, ocr_request(engine=ONE_BY_ONE)))
    await until(lambda: server.in_use(ONE_BY_ONE) == 2)
    pid = int(next(line.split()[-1] for line in reversed(server.journal) if line.startswith("started")))
    os.kill(pid, number)
    killed = time.perf_counter()
    lost = await running
    told = time.perf_counter() - killed
    good = await waiting
    return Recovery(_outcomes([lost]), told, time.perf_counter() - killed, Counter([good.status]))


async def broken_load(server: LiveServer, count: int = 100) -> tuple[Counter[tuple[int, str | None]], int, Recovery]:
    """Requests for a model that does not load, then its repair; outcomes, tries, recovery."""
    waves = [await all_at_once(server.port, [ocr_request(engine="broken-load")] * 20) for _ in range(count // 20)]
    outcomes = _outcomes([answer for wave in waves for answer in wave])
    tries = sum(line.startswith("load broken-load") for line in server.journal)
    server.journal_path.with_name("repaired").touch()
    good = await ask(server.port, ocr_request(engine="broken-load"))
    return outcomes, tries, Recovery(outcomes, 0.0, good.seconds, Counter([good.status]))


MISHAPS = {"out_of_memory": "memory ran out", "lose_device": "a lost device", "full_disk": "a full disk"}
"""What goes wrong with one request, in words."""


async def mishap(server: LiveServer, do: str) -> float:
    """A request that goes wrong; seconds from its answer to the next good one."""
    await ask(server.port, ocr_request())
    if do == "full_disk":
        bad = await _on_a_full_disk(server)
    else:
        bad = await ask(server.port, ocr_request(do))
    assert bad.status in (503, 507), bad
    started = time.perf_counter()
    while (await ask(server.port, ocr_request())).status != 200:
        assert time.perf_counter() - started < PATIENCE, NEVER
        await asyncio.sleep(0.05)
    return time.perf_counter() - started


async def _on_a_full_disk(server: LiveServer) -> Timed:
    """A limit on the size of files stands for a disk without room."""
    usual = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (600_000, usual[1]))
    try:
        return await ask(server.port, picture_request(b"\x89PNG" + bytes(3_000_000)))
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, usual)


@dataclass(frozen=True)
class Shutdown:
    """What the clients of a service got that was told to stop."""

    answers: Counter[tuple[int, str | None]]
    exit_status: int
    seconds: float
    children_left: int
    files_left: list[str]


async def shutdown(server: LiveServer, running: int = 8) -> Shutdown:
    """SIGTERM with requests in the model, one whose model loads, and one that is being uploaded."""
    await ask(server.port, ocr_request())
    await ask(server.port, ocr_request(engine=ONE_BY_ONE))
    children = server.children()
    requests = [asyncio.create_task(ask(server.port, ocr_request("wait_for"))) for _ in range(running)]
    requests.append(asyncio.create_task(ask(server.port, ocr_request(engine="slow-to-load"))))
    await until(lambda: server.in_use("faulty") == running)
    await until(lambda: server.journal_has("load slow-to-load"))
    upload = ocr_request(engine=ONE_BY_ONE)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(upload[:300])
    await writer.drain()
    await asyncio.sleep(0.1)
    server.process.send_signal(signal.SIGTERM)
    told = time.perf_counter()
    await asyncio.sleep(1)
    writer.write(upload[300:])
    server.go()
    server.journal_path.with_name("may_load").touch()
    head = await reader.read(15)
    writer.close()
    answers = _outcomes(await asyncio.gather(*requests))
    answers[int(head.split()[1]), None] += 1
    status = await asyncio.to_thread(server.process.wait, 60)
    alive = sum(child.is_running() for child in children)
    return Shutdown(answers, status, time.perf_counter() - told, alive, os.listdir(server.temporary))


@dataclass(frozen=True)
class Forced:
    """How a service ended that was told twice to stop, while a request hung."""

    first_waited: bool
    """Whether it had waited for the request until then."""
    seconds: float
    """From the second signal to the end."""
    exit_status: int
    children_left: int
    answer: RawAnswer
    """To the request."""


async def second_signal(server: LiveServer) -> Forced:
    """SIGTERM, and again, with a request in the model that never ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(ocr_request("hang"))
    await until(lambda: server.journal_has("started"))
    children = server.children()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(1.5)  # longer than the service tells everybody that it ends
    first_waited = server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    again = time.perf_counter()
    status = await asyncio.to_thread(server.process.wait, 60)
    seconds = time.perf_counter() - again
    answer = await read_from(reader)
    writer.close()
    return Forced(first_waited, seconds, status, sum(is_alive(child) for child in children), answer)


async def orphans(server: LiveServer) -> float:
    """kill -9 of the gateway while a model hangs; seconds until none of its processes is left."""
    await ask(server.port, ocr_request(engine=ONE_BY_ONE))
    hanging = asyncio.create_task(ask(server.port, ocr_request("hang")))
    await until(lambda: server.journal_has("started"))
    children = server.children()
    assert len(children) >= 3
    server.process.kill()
    left = await until(lambda: not any(is_alive(child) for child in children))
    await hanging
    return left


def _outcomes(answers: list[Timed]) -> Counter[tuple[int, str | None]]:
    return Counter((answer.status, answer.code) for answer in answers)
