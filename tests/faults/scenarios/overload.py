"""More than a service can take: many at once, at a rate, and one client against others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fixtures.crowd import Timed, all_at_once, ask, at_rate, percentile, while_probing
from fixtures.drawing import draw_bubble, draw_words
from fixtures.encoding import saved
from fixtures.live import LiveServer
from fixtures.requests import model_request, ocr_request, picture_request
from fixtures.waiting import until

ONE_BY_ONE = "one-by-one"


@dataclass(frozen=True)
class Burst:
    """200 requests at once for a model that runs one and queues 32."""

    answers: list[Timed]
    probes: list[Timed]
    decoded: int

    @property
    def by_outcome(self) -> Counter[tuple[int, str | None]]:
        return Counter((answer.status, answer.code) for answer in self.answers)

    @property
    def refusals(self) -> list[Timed]:
        return [answer for answer in self.answers if answer.status == 429]


async def burst(server: LiveServer, count: int = 200, places: int = 33) -> Burst:
    await ask(server.port, model_request("load", ONE_BY_ONE))
    decoded = server.metric('llm_vision_stage_seconds_count{model="",stage="decode"}')

    async def send() -> list[Timed]:
        crowd = asyncio.ensure_future(all_at_once(server.port, [ocr_request("wait_for", ONE_BY_ONE)] * count))
        refused = 'llm_vision_errors_total{code="queue_full"}'
        await until(lambda: server.metric(refused) >= count - places or crowd.done())
        server.go()
        return await crowd

    answers: list[Timed] = []

    async def work() -> None:
        answers.extend(await send())

    probes = await while_probing(server.port, 50, work())
    after = server.metric('llm_vision_stage_seconds_count{model="",stage="decode"}')
    return Burst(answers, probes, int(after - decoded))


async def steady_overload(
    server: LiveServer, per_second: float = 50, seconds: float = 6
) -> tuple[list[Timed], list[Timed]]:
    """50 new requests a second for a model that manages 5; the answers, and those of a probe beside them."""
    await ask(server.port, model_request("load", ONE_BY_ONE))
    answers: list[Timed] = []

    async def work() -> None:
        answers.extend(await at_rate(server.port, ocr_request("slow", ONE_BY_ONE), per_second, seconds))

    probes = await while_probing(server.port, 50, work())
    return answers, probes


QUEUE_SECONDS = 2
QUEUE_SETTINGS = {"VISION_QUEUE_SECONDS": str(QUEUE_SECONDS)}


async def long_queue(server: LiveServer, count: int = 33) -> list[Timed]:
    """As many as may queue at once, who need three times as long as anybody may wait."""
    await ask(server.port, model_request("load", ONE_BY_ONE))
    return await all_at_once(server.port, [ocr_request("slow", ONE_BY_ONE)] * count)


async def slow_load(server: LiveServer, seconds: float) -> list[Timed]:
    """Probes while a model loads."""

    async def finish() -> None:
        loading = asyncio.create_task(ask(server.port, ocr_request(engine="slow-to-load")))
        await asyncio.sleep(seconds)
        server.journal_path.with_name("may_load").touch()
        await loading

    return await while_probing(server.port, 50, finish())


@dataclass(frozen=True)
class Fairness:
    """Seconds that polite clients wait, alone and beside a greedy one."""

    alone: list[float]
    beside_greedy: list[float]
    refused_polite: int
    greedy: Counter[tuple[int, str | None]]

    @property
    def ratio(self) -> float:
        return percentile(self.beside_greedy, 0.95) / percentile(self.alone, 0.95)


def slow_reading(key: str) -> bytes:
    """A request that takes the model 200 ms."""
    return ocr_request("slow", ONE_BY_ONE, key=key)


async def fairness(
    server: LiveServer,
    requests_each: int = 8,
    request_of: Callable[[str], bytes] = slow_reading,
    *,
    in_parallel: int = 100,
    waits_for_greedy: bool = True,
) -> Fairness:
    """Five polite clients, one request at a time each; then the same beside one that keeps many in parallel."""
    if waits_for_greedy:
        await ask(server.port, request_of("greedy"))

    async def polite(number: int) -> list[Timed]:
        data = request_of(f"polite{number}")
        return [await ask(server.port, data) for _ in range(requests_each)]

    async def five() -> list[Timed]:
        return [answer for answers in await asyncio.gather(*(polite(n) for n in range(5))) for answer in answers]

    alone = await five()
    stopped = asyncio.Event()
    greedy: list[Timed] = []

    async def keep_asking() -> None:
        while not stopped.is_set():
            greedy.append(await ask(server.port, request_of("greedy")))
            await asyncio.sleep(0.1)

    crowd = [asyncio.create_task(keep_asking()) for _ in range(in_parallel)]
    await asyncio.sleep(0.5)
    beside = await five()
    stopped.set()
    if not waits_for_greedy:
        for task in crowd:
            task.cancel()
    await asyncio.gather(*crowd, return_exceptions=not waits_for_greedy)
    refused = sum(answer.status != 200 for answer in (*alone, *beside))
    outcomes = Counter((answer.status, answer.code) for answer in greedy)
    return Fairness([a.seconds for a in alone], [a.seconds for a in beside], refused, outcomes)


CROP, COSTLY = (
    saved(picture, "PNG") for picture in (draw_bubble(["この道を", "まっすぐ行けば"], 34)[0], draw_words(1600))
)


def costly_reading(key: str) -> bytes:
    """A crop of the polite, and a picture of 1,600 words of the greedy client."""
    return picture_request(COSTLY if key == "greedy" else CROP, engine="rapidocr", key=key)


async def fairness_of_pictures(server: LiveServer, requests_each: int = 8, in_parallel: int = 2) -> Fairness:
    """Polite crops beside the costly pictures of one client, who leaves when they have been read."""
    await ask(server.port, model_request("load", "rapidocr", key="greedy"))
    for _ in range(3):
        await ask(server.port, costly_reading("polite0"))
    return await fairness(server, requests_each, costly_reading, in_parallel=in_parallel, waits_for_greedy=False)


FAIR_KEYS = {"VISION_API_KEYS": ",".join(["greedy", *(f"polite{n}" for n in range(5))])}
