"""Compares streamed POST /v1/chat/completions with `transformers serve`: the same checkpoints, pictures, questions.

During development, `PYTHONPATH=tests python -m benchmarks.chat --only tiny` skips the full-size model.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import httpx2

from benchmarks.chat_weights import write_onevision, write_tiny
from benchmarks.report import Result, report
from benchmarks.service import free_port, running
from fixtures.encoding import saved
from fixtures.shapes import held_out
from fixtures.tiny_models import LLAVA_ID

ONEVISION_ID = "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
CLIENTS, TOKENS = 8, 64
SIDE = 384  # pixels: OneVision's smallest, one tile and the whole
PATIENCE = 900.0  # seconds
REST = 1.0  # seconds until a server that has answered does nothing any more
PEER, ALONE = f"transformers serve {version('transformers')}", "the first question about the picture"
QUESTIONS = ("What is in the picture?", "Which colours are there?")


@dataclass(frozen=True)
class Figure:
    """A measured figure, and the target for its ratio to the peer's."""

    name: str
    unit: str
    peer: str
    bound: float
    is_least: bool

    def result(self, model: str, ours: float, theirs: float) -> Result:
        ratio = ours / theirs
        met = ratio >= self.bound if self.is_least else ratio <= self.bound
        sign = ">=" if self.is_least else "<="
        return Result(
            f"chat {model}: {self.name}", round(ours, 3), self.unit, self.peer, round(ratio, 3),
            f"ratio {sign} {self.bound}", met,
        )  # fmt: skip


FIGURES = {
    "together": Figure(f"{CLIENTS} clients at once", "tokens/s", PEER, 3.0, is_least=True),
    "second": Figure("first chunk of the second question", "s", ALONE, 0.3, is_least=False),
    "alone": Figure("one client", "tokens/s", PEER, 1.0, is_least=True),
    "first": Figure("first chunk", "s", PEER, 1.0, is_least=False),
}


@dataclass(frozen=True)
class Plan:
    """The figures and rounds for a checkpoint; at full size, eight prompts at once take a minute."""

    model_id: str
    write: Callable[[Path], None]
    figures: tuple[str, ...]
    rounds: int
    crowds: int
    """Rounds in which all clients send requests at once."""


@dataclass(frozen=True)
class Answer:
    """When the first and last text of an answer arrived, in seconds after the question, and its tokens."""

    first: float
    last: float
    prompt_tokens: int
    tokens: int

    @property
    def rate(self) -> float:
        """Tokens a second after the first one."""
        return (self.tokens - 1) / (self.last - self.first)


class Server:
    """One of the two servers under test.

    Args:
        client: connected to it.
        model: its name for the checkpoint.
    """

    def __init__(self, client: httpx2.Client, model: str) -> None:
        self._client = client
        self._model = model

    def ask(self, picture: str, question: str = QUESTIONS[0]) -> Answer:
        """Ask about a picture (a data URI) and read the streamed answer.

        Raises:
            RuntimeError: the answer was cut off, or has an unexpected length.
        """
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question}]
        body = {
            "model": self._model, "messages": [{"role": "user", "content": content}], "max_tokens": TOKENS,
            "temperature": 0, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        times, usage = [], None
        started = time.perf_counter()
        with self._client.stream("POST", "/v1/chat/completions", json=body) as answer:
            for line in answer.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if any(choice["delta"].get("content") for choice in chunk.get("choices", ())):
                    times.append(time.perf_counter() - started)
                usage = chunk.get("usage") or usage
        if not times or not usage or usage["completion_tokens"] != TOKENS:
            raise RuntimeError(f"expected an answer of {TOKENS} tokens; usage: {usage}")
        return Answer(times[0], times[-1], usage["prompt_tokens"], usage["completion_tokens"])

    def ask_all(self, pictures: list[str]) -> float:
        """Ask about all of them at once; returns the tokens a second of all answers together."""
        started = time.perf_counter()
        with ThreadPoolExecutor(len(pictures)) as threads:
            answers = list(threads.map(self.ask, pictures))
        return sum(answer.tokens for answer in answers) / (time.perf_counter() - started)


def main(only: str | None = None) -> int:
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(os.cpu_count()))
    rows: list[tuple[str, ...]] = [("POST /v1/chat/completions, streamed", "ours", "peer", "ratio", "target")]
    results = []
    for model, plan in PLANS.items():
        if only not in (None, model):
            continue
        with both(plan) as (ours, theirs):
            found = _measured(ours, theirs, plan)
        for name in plan.figures:
            figure = FIGURES[name]
            mine, other = (median(values) for values in found[name])
            result = figure.result(model, mine, other)
            rows.append((f"{model}, {figure.name}, {figure.unit}", f"{mine:.3f}", f"{other:.3f}",
                         f"{mine / other:.2f}", result.target))  # fmt: skip
            results.append(result)
    return report(rows, *results)


def _measured(ours: Server, theirs: Server, plan: Plan) -> dict[str, tuple[list[float], list[float]]]:
    """Our values and the peer's for each figure; they take turns and are warmed up."""
    pictures = _pictures()
    warm = next(pictures)
    if ours.ask(warm).prompt_tokens != theirs.ask(warm).prompt_tokens:
        raise RuntimeError("the two servers read different prompts")
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in FIGURES}
    for turn in range(plan.rounds):
        one = next(pictures)
        crowd = [next(pictures) for _ in range(CLIENTS)]
        for is_ours in (True, False) if turn % 2 else (False, True):
            server, side = (ours, 0) if is_ours else (theirs, 1)
            answer = server.ask(one)
            found["first"][side].append(answer.first)
            found["alone"][side].append(answer.rate)
            if is_ours:
                found["second"][1].append(answer.first)
                found["second"][0].append(server.ask(one, QUESTIONS[1]).first)
            if turn < plan.crowds:
                found["together"][side].append(server.ask_all(crowd))
            time.sleep(REST)
        print({name: [round(values[-1], 3) for values in pair] for name, pair in found.items()}, flush=True)
    return found


def _pictures() -> Iterator[str]:
    """Data URIs, all different."""
    for scene, _ in held_out(1000, seed=51):
        yield "data:image/png;base64," + base64.b64encode(saved(scene.draw(SIDE))).decode()


@contextmanager
def both(plan: Plan) -> Iterator[tuple[Server, Server]]:
    """Both servers, on the same checkpoint and number format."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place) / plan.model_id
        plan.write(folder)
        patience = {f"VISION_{name}_SECONDS": str(PATIENCE) for name in ("QUEUE", "ANALYZE")}
        settings = {"TRANSFORMERS_CACHE": place, "LLAVA_QUANTIZATION": "none", **patience}
        client, _ = stack.enter_context(running(settings))
        client.timeout = PATIENCE
        peer = stack.enter_context(serving(folder))
        yield Server(client, plan.model_id), Server(peer, str(folder))


@contextmanager
def serving(folder: Path) -> Iterator[httpx2.Client]:
    """A client of `transformers serve` with a checkpoint loaded."""
    from llm_vision.models.loading import hf

    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", str(hf.best_dtype("cpu")).removeprefix("torch.")]
    log_path = folder.parent / "peer.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen([*command, "--log-level", "error"], stdout=log, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
            while not _is_up(client):
                if process.poll() is not None:
                    raise RuntimeError("transformers serve did not start")
                time.sleep(0.1)
            yield client
    finally:
        if process.poll() is not None:
            print(f"transformers serve ended with {process.poll()}:\n{log_path.read_text()[-3000:]}", file=sys.stderr)
        process.terminate()
        process.wait(60)


def _is_up(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.TransportError:
        return False


PLANS = {
    "tiny": Plan(LLAVA_ID, write_tiny, ("together", "alone", "first"), rounds=9, crowds=9),
    "0.5B": Plan(ONEVISION_ID, write_onevision, tuple(FIGURES), rounds=5, crowds=1),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PLANS, help="run one checkpoint only")
    sys.exit(main(parser.parse_args().only))
