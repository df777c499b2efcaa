"""`make fuzz`: mutated answers of another server; exit 1 when one becomes no answer of ours and no declared error.

`python -m faults.fuzz_answers --first N --count 1` makes the answer of a number again.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from faults.scenarios.mutations import mutated, mutated_json
from fixtures.fake_openai import USAGE, FakeOpenAI, sends
from fixtures.items import PlainItem
from llm_vision.errors import VisionError
from llm_vision.models.base import LoadContext
from llm_vision.models.families.upstream.model import Upstream
from llm_vision.models.tool_text import tool_calls

AT_ONCE = 8
OFFERED = ("paint", "wait")
DECLARED = ("upstream_invalid", "upstream_unavailable", "context_length_exceeded")
MOST_TOKENS = 2**31
TOOLS = {
    "type": "tools",
    "tools": [{"name": name, "parameters": None} for name in OFFERED],
    "choice": "auto",
    "parallel": True,
    "otherwise": None,
}


def _chunk(**fields: Any) -> dict[str, Any]:
    return {"id": "1", "object": "chat.completion.chunk", **fields}


def _choice(delta: Any, finish: str | None = None, logprob: float | None = None) -> dict[str, Any]:
    said = {"content": [{"token": "a", "logprob": logprob, "bytes": [97], "top_logprobs": []}]}
    logprobs = None if logprob is None else said
    return _chunk(choices=[{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": logprobs}])


def _call(**function: str | None) -> dict[str, Any]:
    return _choice({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]})


SEEDS = (
    [_choice({"role": "assistant", "content": ""}), _choice({"content": "日本"}, None, -0.1), _choice({}, "stop")],
    [_choice({"content": "a"}, None, -9999.0), _choice({}, "length"), _chunk(choices=[], usage=USAGE)],
    [_call(name="paint", arguments=""), _call(name=None, arguments='{"a": [1, 2.5]}'), _choice({}, "tool_calls")],
    [_choice({"content": "a"}), {"error": {"message": "boom", "code": 500}}],
    [{"object": "error", "message": "maximum context length is 16", "code": 400}],
    [_choice({"content": '{"name": "wait", "arguments": {}}'}, "stop")],
)


def answers(count: int, first: int) -> Iterator[tuple[int, bytes]]:
    """(number, bytes of a stream); a number makes the same answer again."""
    for number in range(first, first + count):
        chance = random.Random(number)
        events = [json.dumps(event).encode() for event in chance.choice(SEEDS)]
        donor = json.dumps(chance.choice(chance.choice(SEEDS))).encode()
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(len(events))
            events[at] = (mutated_json if chance.random() < 0.8 else mutated)(events[at], donor, chance)
        stream = b"".join(b"data: %b\n\n" % event for event in events) + b"data: [DONE]\n\n"
        yield number, mutated(stream, donor, chance) if chance.random() < 0.2 else stream


@dataclass
class Outcome:
    """What mutated answers have become."""

    kinds: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    """What is wrong, by the number of the answer."""


def complaint(found: Any) -> str | None:
    """What is wrong with a result."""
    if isinstance(found, VisionError):
        return None if found.code in DECLARED else found.code
    if not isinstance(found, dict):
        return repr(found)[:200]
    text, confidence, usage = found["text"], found["confidence"], found["usage"]
    json.dumps(found, allow_nan=False).encode()
    if any(name not in OFFERED for name in _names(text)):
        return "a tool that was not offered"
    if confidence is not None and not 0 <= confidence <= 1:
        return f"confidence {confidence}"
    if usage and not all(0 <= tokens < MOST_TOKENS for tokens in usage.values()):
        return "usage"
    return None if text.isprintable() or not set(text) & set(map(chr, (0, 27, 127))) else "control characters"


def _names(text: str) -> list[str]:
    """Those of explicit calls; words that look like one are judged by the gateway."""
    return [call["name"] for call in tool_calls(text) or ()] if text.startswith("[") else []


def fuzz(count: int, first: int = 0) -> Outcome:
    """Ask for one mutated answer after the other, several at the same time."""
    outcome, work = Outcome(), answers(count, first)
    with FakeOpenAI() as server:
        model = Upstream()
        model.load(LoadContext("cpu", 1, options={"url": server.url, "model": "tiny"}))
        while batch := [one for _, one in zip(range(AT_ONCE), work, strict=False)]:
            server.plans = {str(number): sends(data) for number, data in batch}
            results = model.predict([_item(str(number)) for number, _ in batch])
            for (number, _), found in zip(batch, results, strict=True):
                outcome.kinds[found.code if isinstance(found, VisionError) else type(found).__name__] += 1
                if wrong := complaint(found):
                    outcome.faults[number] = wrong
    return outcome


def _item(prompt: str) -> PlainItem:
    usual = {"temperature": None, "top_p": None, "max_tokens": 64, "stop": [], "seed": None, "format": TOOLS}
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    return PlainItem([Image.new("RGB", (4, 4))], {"messages": [{"role": "user", "content": content}], **usual})


def main() -> int:
    parser = argparse.ArgumentParser(description="Send mutated answers of another server.")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first answer; a number is repeatable")
    options = parser.parse_args()
    logging.disable()
    started = time.monotonic()
    found = fuzz(options.count, options.first)
    print(f"{options.count} mutated answers in {time.monotonic() - started:.0f} s: {dict(found.kinds.most_common())}")
    for number, wrong in sorted(found.faults.items())[:20]:
        print(f"  --first {number} --count 1: {wrong}")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
