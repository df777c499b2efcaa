"""`make fuzz`: tiny models with mutated settings, templates and tokenizers; exit 1 when one takes its process with it.

Each is loaded, and asked once when it loads, in a process of its own, with the limits of a worker: it must come to an
end, by itself, within its memory and its time. `python -m faults.fuzz_model_files --first N --count 1` makes the model
of a number again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from faults.scenarios.mutations import mutated, mutated_json
from fixtures.items import PlainItem
from fixtures.tiny_models import LLAVA_ID, LLAVA_NEXT_ID, OF_MODEL, copied
from llm_vision.errors.memory import is_out_of_memory
from llm_vision.models.base import LoadContext, Model, UnusableWeights
from llm_vision.models.registry import Catalog
from llm_vision.runtime.child.outcomes import as_failure
from llm_vision.runtime.processes.guard import limit_memory
from llm_vision.runtime.weights.proof import proven

MODELS = ("manga-ocr", "blip-image-captioning-base", LLAVA_ID, LLAVA_NEXT_ID)
LIMIT_BYTES = 3 * 10**9
MOST_SECONDS = 120
"""Of processor time; a sound one takes two."""
EXPLOSIVE = (
    b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    b"{{ 'a' * 10**10 }}",
    b"{{ 9**9**9 }}",
    b"{% for",
)
QUESTION = {
    "messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
    **{"temperature": 0.0, "top_p": None, "max_tokens": 4, "stop": [], "seed": None, "logprobs": None},
}
Chance = random.Random


@dataclass
class Outcome:
    """What became of mutated models."""

    kinds: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)
    """What is wrong, by the number of the model."""


def mutate(folder: Path, chance: Chance) -> None:
    """Change one or two files that are text."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".json", ".jinja", ".txt")]
    for _ in range(chance.choice((1, 1, 2))):
        file = chance.choice(files)
        donor = chance.choice(files).read_bytes()
        if file.suffix == ".jinja" and chance.random() < 0.3:
            data = chance.choice(EXPLOSIVE)
        elif file.name == "tokenizer.json" and chance.random() < 0.3:
            data = _with_expression(file.read_bytes(), chance)
        elif chance.random() < 0.3:
            data = _with_number(file.read_bytes(), chance)
        else:
            data = (mutated_json if chance.random() < 0.8 else mutated)(file.read_bytes(), donor, chance)
        file.write_bytes(data)


def _with_expression(data: bytes, chance: Chance) -> bytes:
    expression = chance.choice(("(a+)+$", "(?:a|aa)+$", "(.*)*x", "(?=(a+))+b", "[", "(" * 500, ""))
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    return json.dumps({**json.loads(data), "pre_tokenizer": split}).encode()


def _with_number(data: bytes, chance: Chance) -> bytes:
    """One of its numbers is another one."""
    try:
        tree = json.loads(data)
    except ValueError:
        return data
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        container = waiting.pop()
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            value = container[key]
            if isinstance(value, dict | list):
                waiting.append(value)
            elif isinstance(value, int | float):
                places.append((container, key))
    if places:
        container, key = chance.choice(places)
        container[key] = chance.choice((0, -1, 1, 7, 1000, 4096, 10**5, 10**6, 2**31, 2**63, 10**30, 0.5, 1e300))
    return json.dumps(tree).encode()


def _run(model_id: str, folder: Path) -> str:
    module, name = Catalog.discover()[model_id].class_path.split(":")
    model: Model = getattr(importlib.import_module(module), name)()
    what = "load"
    try:
        with proven(folder, may_repair=False):
            model.load(LoadContext("cpu", 1, folder, model_id=model_id))
        what = "answer"
        is_chat = "llava" in model_id
        params = QUESTION if is_chat else {"language": "ja", "furigana": "keep"}
        (found,) = model.predict([PlainItem([Image.linear_gradient("L").resize((64, 48))], params)])
        json.dumps(found if isinstance(found, dict) else None, allow_nan=False)
    except UnusableWeights:
        return "refused"
    except BaseException as error:
        failure = as_failure(error)
        return f"{what}: {'no memory' if is_out_of_memory(failure) else 'failed'}"
    return "answered"


def _in_child(model_id: str, folder: Path, told: Path) -> None:
    """Never returns."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 5))
    limit_memory(LIMIT_BYTES)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    told.write_text(_run(model_id, folder))
    os._exit(0)


def _outcome_of(status: int, told: Path) -> tuple[str, str | None]:
    """(kind, complaint)."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # a library in Rust or C++ that gets no memory ends its process by itself
        return signal.Signals(number).name, None if number == signal.SIGABRT else signal.Signals(number).name
    if os.WEXITSTATUS(status):
        return "ended", f"exit status {os.WEXITSTATUS(status)}"
    return told.read_text(), None


def fuzz(count: int, first: int = 0) -> Outcome:
    """Load one mutated model after the other."""
    import manga_ocr.ocr  # noqa: F401  (every fork has them then)
    import torch
    import transformers

    for name in ("LlavaForConditionalGeneration", "VisionEncoderDecoderModel", "BlipForConditionalGeneration"):
        getattr(transformers, name)
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    outcome = Outcome()
    for number in range(first, first + count):
        chance = random.Random(number)
        model_id = chance.choice(MODELS)
        with tempfile.TemporaryDirectory() as place:
            folder = copied(OF_MODEL[model_id], Path(place) / "weights")
            mutate(folder, chance)
            child = os.fork()
            if child == 0:
                _in_child(model_id, folder, Path(place) / "told")
            _, status = os.waitpid(child, 0)
            kind, wrong = _outcome_of(status, Path(place) / "told")
        outcome.kinds[kind] += 1
        if wrong:
            outcome.faults[number] = f"{model_id}: {wrong}"
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description="Load mutated models.")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first model; a number is repeatable")
    options = parser.parse_args()
    started = time.monotonic()
    found = fuzz(options.count, options.first)
    print(f"{options.count} mutated models in {time.monotonic() - started:.0f} s: {dict(found.kinds.most_common())}")
    for number, wrong in sorted(found.faults.items()):
        print(f"  --first {number} --count 1: {wrong}")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
