"""Many clients who all ask first, and many pictures at the same time: the tiny MangaOCR and the tiny LLaVA."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from faults.scenarios.memory import Peak
from fixtures.encoding import saved
from fixtures.japanese_crops import crops
from fixtures.live import LiveServer
from fixtures.shapes import held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID, MANGA_OCR, copied

READER = "manga-ocr"
MODELS = (READER, LLAVA_ID)
CALLS = 64
Call = Callable[[LiveServer], str]


@dataclass(frozen=True)
class Burst:
    """What calls at the same time to models that were not loaded have led to."""

    loads: tuple[int, ...]
    """Of each model."""
    processes: int
    answers: list[str]
    peak_bytes: int
    """Of all processes of the service together."""


def settings(folder: Path, calls: int = CALLS) -> dict[str, str]:
    """A service with the weights of both models, copied into a folder."""
    copied(LLAVA, folder / "llava" / LLAVA_ID)
    return {
        "TRANSFORMERS_CACHE": str(folder / "llava"),
        "MANGAOCR_MODEL_PATH": str(copied(MANGA_OCR, folder / "manga")),
        "LLAVA_MODEL_ID": LLAVA_ID,
        "VISION_QUEUE_SIZE": str(calls),
    }


def mixed_calls(count: int = CALLS, seed: int = 23) -> list[Call]:
    """Half of them ask about pictures, half read crops; in any order."""
    calls = questions(count // 2, seed) + [_reading(crop.picture) for crop in crops(count // 2, seed)]
    random.Random(seed).shuffle(calls)
    return calls


def questions(count: int, seed: int) -> list[Call]:
    """Each about a picture of its own."""
    return [_asking(scene.draw(), question.prompt) for scene, question in held_out(count, seed, None)]


def at_once(server: LiveServer, calls: Sequence[Call]) -> list[str]:
    """The answers, in the order of the calls."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(lambda call: call(server), calls))


def one_by_one(server: LiveServer, calls: Sequence[Call]) -> list[str]:
    return [call(server) for call in calls]


def burst(server: LiveServer, calls: Sequence[Call]) -> Burst:
    """All calls at the same time, after the models were unloaded."""
    for model in MODELS:
        server.client.post("/models/unload", json={"model": model})
    before = _loads(server)
    peak = Peak(server)
    answers = at_once(server, calls)
    loads = tuple(after - earlier for after, earlier in zip(_loads(server), before, strict=True))
    return Burst(loads, len(server.children("child.main")), answers, peak.end())


def _loads(server: LiveServer) -> tuple[int, ...]:
    return tuple(int(server.metric(f'llm_vision_model_loads_total{{model="{model}"')) for model in MODELS)


def _asking(picture: Image.Image, prompt: str) -> Call:
    data = saved(picture)
    return lambda server: _said(server, "/analyze_image", data, "analysis", prompt=prompt)


def _reading(picture: Image.Image) -> Call:
    data = saved(picture)
    return lambda server: _said(server, "/ocr", data, "text")


def _said(server: LiveServer, route: str, data: bytes, field: str, **fields: str) -> str:
    answer = server.client.post(route, files={"file": data}, data={**fields, "fallback": "never"})
    return str(answer.json().get(field, answer.text))
