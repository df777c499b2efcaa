"""A client that wants to know what another key asked and showed: it guesses, and looks at figures and at the clock."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.scenarios import first_requests
from fixtures.chat_requests import OPENAI, chat_body, chat_request
from fixtures.encoding import saved
from fixtures.live import LiveServer
from fixtures.raw_http import send_raw
from fixtures.shapes import COLOURS, NUMBERS, held_out
from fixtures.tiny_models import LLAVA_ID

VICTIM, ATTACKER = "victim", "attacker"
WORDS = 300


@dataclass(frozen=True)
class Told:
    """What an answer tells of what was read before."""

    reused: int
    """Tokens, as it says."""
    seconds: float


@dataclass(frozen=True)
class Secret:
    """Something that one asks: a long text, and a picture or none."""

    text: str
    picture: bytes | None

    def asked_by(self, server: LiveServer, key: str) -> Told:
        pictures = [] if self.picture is None else [self.picture]
        body = chat_body(OPENAI, self.text, LLAVA_ID, pictures, max_tokens=1)
        started = time.perf_counter()
        answer = send_raw(server.port, chat_request(OPENAI, body, key))
        seconds = time.perf_counter() - started
        assert answer.status == 200, answer.body
        return Told(int(answer.problem["usage"]["prompt_tokens_details"]["cached_tokens"]), seconds)


@dataclass(frozen=True)
class Round:
    """A secret, and two guesses of which one is right."""

    first: Told
    right: Told
    wrong: Told
    second: Told
    """Asked again by the one whose secret it is."""


def settings(folder: Path) -> dict[str, str]:
    """A service with two keys."""
    return {**first_requests.settings(folder), "VISION_API_KEYS": f"{VICTIM},{ATTACKER}"}


def guess(server: LiveServer, rounds: int, seed: int) -> list[Round]:
    """Four requests a round; every other one with pictures, which are guessed, too."""
    chance = random.Random(seed)
    scenes = iter(held_out(rounds + 2, seed))
    found = []
    for number in range(rounds):
        secret, other = (Secret(_text(chance), saved(next(scenes)[0].draw()) if number % 2 else None) for _ in range(2))
        first = secret.asked_by(server, VICTIM)
        order = [secret, other]
        chance.shuffle(order)
        told = {one: one.asked_by(server, ATTACKER) for one in order}
        found.append(Round(first, told[secret], told[other], secret.asked_by(server, VICTIM)))
    return found


def _text(chance: random.Random) -> str:
    return " ".join(chance.choice([*COLOURS, *NUMBERS]) for _ in range(WORDS))


def told_apart(right: Sequence[float], wrong: Sequence[float]) -> float:
    """How often a right guess is faster than a wrong one, of all pairs: 0.5 where time tells nothing, 1 for ever."""
    pairs = [(one < other) + (one == other) / 2 for one in right for other in wrong]
    return sum(pairs) / len(pairs)
