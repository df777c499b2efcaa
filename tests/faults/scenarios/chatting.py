"""Conversations whose answers are streamed: clients that leave, a stop, many at once, one client against others."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fixtures.chat_requests import (
    CHAT_ROUTES,
    OPENAI,
    TALKER,
    Stream,
    chat_body,
    chat_request,
    orders,
    post_chat,
)
from fixtures.encoding import saved
from fixtures.live import LiveServer
from fixtures.shapes import EXACT_KINDS, held_out, questions
from fixtures.tiny_models import LLAVA_ID
from fixtures.waiting import until

LONG = 2000
"""Words of an answer that nobody waits for to its end."""
PAUSE = 0.01
PROMPT = "Is there a red circle? " * 600
"""Near the longest that the tiny LLaVA reads."""


@dataclass(frozen=True)
class Departure:
    """What became of an answer whose client hung up behind its first word."""

    stopped_after: float
    """Seconds."""
    said: int
    """Words until then."""


async def leave_stream(server: LiveServer, route: str) -> Departure:
    """Hang up behind the first word of a long answer."""
    stream = await asyncio.to_thread(
        Stream, server.port, route, orders(route, LONG, stream=True, pause=PAUSE, mark="x")
    )
    next(stream.pieces())
    before = len(_left(server))
    stream.close()
    seconds = await until(lambda: len(_left(server)) > before and server.in_use(TALKER) == 0)
    return Departure(seconds, int(_left(server)[-1].rpartition(":")[2]))


def _left(server: LiveServer) -> list[str]:
    return [line.split()[1] for line in server.journal if line.startswith("left ")]


@dataclass(frozen=True)
class Reading:
    """A long prompt whose client hung up while it was read."""

    whole: float
    """Seconds that the model takes to read it."""
    next_after: float
    """Seconds from the leaving until another client was answered."""


async def leave_reading(server: LiveServer) -> Reading:
    """Hang up while the tiny LLaVA reads a long prompt for the first time."""
    await _ask_llava(server, "Count the shapes.")
    whole = await _ask_llava(server, f"First. {PROMPT}")
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(chat_request(OPENAI, _one_word(f"Second. {PROMPT}")))
    await writer.drain()
    await until(lambda: server.in_use(LLAVA_ID) == 1)
    await asyncio.sleep(whole / 5)
    writer.close()
    return Reading(whole, await _ask_llava(server, "Count the shapes."))


def _one_word(text: str) -> dict[str, Any]:
    return chat_body(OPENAI, text, LLAVA_ID, max_tokens=1)


async def _ask_llava(server: LiveServer, text: str) -> float:
    started = time.perf_counter()
    answer = await asyncio.to_thread(post_chat, server.port, OPENAI, _one_word(text))
    assert answer.status == 200, answer.body
    return time.perf_counter() - started


@dataclass(frozen=True)
class Stopped:
    """Streams of a service that was told to stop."""

    texts: list[str]
    are_done: list[bool]
    errors: list[Any]
    exit_status: int
    seconds: float


async def stop_while_streaming(server: LiveServer, count: int) -> Stopped:
    """SIGTERM behind the first words of two streams on either route, each `count` words long."""
    streams = [
        await asyncio.to_thread(Stream, server.port, route, orders(route, count, stream=True, pause=PAUSE))
        for route in CHAT_ROUTES
    ]
    firsts = [next(stream.pieces()) for stream in streams]
    server.process.send_signal(signal.SIGTERM)
    told = time.perf_counter()
    rests = await asyncio.gather(*(asyncio.to_thread(lambda one=stream: "".join(one.pieces())) for stream in streams))
    status = await asyncio.to_thread(server.process.wait, 60)
    return Stopped(
        [first + rest for first, rest in zip(firsts, rests, strict=True)],
        [stream.is_done for stream in streams],
        [stream.error for stream in streams],
        status,
        time.perf_counter() - told,
    )


@dataclass(frozen=True)
class Asked:
    """A question about a picture, on one of the routes."""

    route: str
    prompt: str
    picture: bytes
    answer: str
    """The right one."""

    def streamed(self, server: LiveServer) -> str:
        """What the model says, piece by piece."""
        body = chat_body(self.route, self.prompt, LLAVA_ID, [self.picture], stream=True)
        stream = Stream(server.port, self.route, body)
        try:
            said = "".join(stream.pieces())
            return said if stream.is_done else f"broken off: {stream.error}"
        finally:
            stream.close()


def conversations(pictures: int, seed: int) -> list[Asked]:
    """A question about each of some pictures of one size, and to every other picture a second one or the same again."""
    chance = random.Random(seed)
    found = []
    for number, (scene, _) in enumerate(held_out(pictures, seed)):
        picture = saved(scene.draw())
        first, *more = [one for one in questions(scene, chance, 6) if one.kind in EXACT_KINDS]
        again = [chance.choice([first, *more])] if number % 2 else []
        found += [Asked(chance.choice(CHAT_ROUTES), one.prompt, picture, one.answer) for one in [first, *again]]
    chance.shuffle(found)
    return found


def at_once(server: LiveServer, asked: list[Asked]) -> list[str]:
    """What is said to all of them at the same time."""
    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(lambda one: one.streamed(server), asked))


def one_by_one(server: LiveServer, asked: list[Asked]) -> list[str]:
    """What is said to each alone, by a model that has seen nothing of it before."""
    found = {}
    for one in sorted(asked, key=lambda one: one.prompt):  # neighbours have different pictures
        if (one.picture, one.prompt) not in found:
            found[one.picture, one.prompt] = one.streamed(server)
    return [found[one.picture, one.prompt] for one in asked]


def reused_tokens(server: LiveServer, one: Asked) -> int:
    """Of a question's prompt, how many tokens the model had read before."""
    body = chat_body(OPENAI, one.prompt, LLAVA_ID, [one.picture])
    usage = post_chat(server.port, OPENAI, body).problem["usage"]
    return int(usage["prompt_tokens_details"]["cached_tokens"])


def slow_talk(key: str) -> bytes:
    """A conversation that takes the talker 100 ms alone."""
    return chat_request(OPENAI, orders(OPENAI, 10, pause=PAUSE), key)
