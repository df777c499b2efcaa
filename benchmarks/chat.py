"""POST /v1/chat/completions, streamed, beside `transformers serve`: the same checkpoints, pictures and questions.

`PYTHONPATH=tests python -m benchmarks.chat --only tiny` leaves the real size out, for development.
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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from benchmarks.report import Result, report
from benchmarks.service import free_port, running
from fixtures.encoding import saved
from fixtures.shapes import held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied

ONEVISION_ID = "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
CLIENTS, TOKENS = 8, 64
SIDE = 384  # pixels: OneVision's smallest, one tile and the whole
ROUNDS = {"tiny": 5, "0.5B": 3}
PATIENCE = 300.0  # seconds
PEER, ALONE = f"transformers serve {version('transformers')}", "the first question about it"
QUESTIONS = ("What is in the picture?", "Which colours are there?")
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
VOCABULARY = 152_000


@dataclass(frozen=True)
class Figure:
    """What is measured, and what is promised of its ratio to the peer's."""

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
class Answer:
    """When the text of an answer came, in seconds from the question, and how much there was."""

    first: float
    last: float
    prompt_tokens: int
    tokens: int

    @property
    def rate(self) -> float:
        """Tokens a second behind the first one."""
        return (self.tokens - 1) / (self.last - self.first)


class Server:
    """One of the two that are asked.

    Args:
        client: of it.
        model: what it calls the checkpoint.
    """

    def __init__(self, client: httpx2.Client, model: str) -> None:
        self._client = client
        self._model = model

    def ask(self, picture: str, question: str = QUESTIONS[0]) -> Answer:
        """Ask about a picture (a data URI) and read the answer as it comes.

        Raises:
            RuntimeError: it broke off, or is not as long as it should be.
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
            raise RuntimeError(f"an answer of {TOKENS} tokens was expected; usage: {usage}")
        return Answer(times[0], times[-1], usage["prompt_tokens"], usage["completion_tokens"])

    def ask_all(self, pictures: list[str]) -> float:
        """Ask about all of them at once: tokens a second of all answers together."""
        started = time.perf_counter()
        with ThreadPoolExecutor(len(pictures)) as threads:
            answers = list(threads.map(self.ask, pictures))
        return sum(answer.tokens for answer in answers) / (time.perf_counter() - started)


def main(only: str | None = None) -> int:
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS=str(os.cpu_count()))
    rows: list[tuple[str, ...]] = [("POST /v1/chat/completions, streamed", "ours", "peer", "ratio", "target")]
    results = []
    for model, (model_id, write) in {"tiny": (LLAVA_ID, write_tiny), "0.5B": (ONEVISION_ID, write_onevision)}.items():
        if only not in (None, model):
            continue
        with both(model_id, write) as (ours, theirs):
            found = _measured(ours, theirs, ROUNDS[model])
        for name, figure in FIGURES.items():
            mine, other = (median(values) for values in found[name])
            result = figure.result(model, mine, other)
            rows.append((f"{model}, {figure.name}, {figure.unit}", f"{mine:.3f}", f"{other:.3f}",
                         f"{mine / other:.2f}", result.target))  # fmt: skip
            results.append(result)
    return report(rows, *results)


def _measured(ours: Server, theirs: Server, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Of each figure our values and the peer's, which take turns; both have answered before."""
    pictures = _pictures()
    warm = next(pictures)
    if ours.ask(warm).prompt_tokens != theirs.ask(warm).prompt_tokens:
        raise RuntimeError("the two read different prompts")
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in FIGURES}
    for turn in range(rounds):
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
            found["together"][side].append(server.ask_all(crowd))
        print({name: [round(values[-1], 3) for values in pair] for name, pair in found.items()}, flush=True)
    return found


def _pictures() -> Iterator[str]:
    """Data URIs, no two of them alike."""
    for scene, _ in held_out(1000, seed=51):
        yield "data:image/png;base64," + base64.b64encode(saved(scene.draw(SIDE))).decode()


@contextmanager
def both(model_id: str, write: Any) -> Iterator[tuple[Server, Server]]:
    """The two servers, on one checkpoint and with the same number format."""
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place) / model_id
        write(folder)
        settings = {"TRANSFORMERS_CACHE": place, "VISION_QUEUE_SECONDS": str(PATIENCE)}
        client, _ = stack.enter_context(running(settings))
        client.timeout = PATIENCE
        peer = stack.enter_context(serving(folder))
        yield Server(client, model_id), Server(peer, str(folder))


@contextmanager
def serving(folder: Path) -> Iterator[httpx2.Client]:
    """A client of `transformers serve` that has loaded a checkpoint."""
    from llm_vision.models import _hf

    port = free_port()
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--dtype", str(_hf.best_dtype("cpu")).removeprefix("torch.")]
    process = subprocess.Popen([*command, "--log-level", "error"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
            while not _is_up(client):
                if process.poll() is not None:
                    raise RuntimeError("transformers serve did not start")
                time.sleep(0.1)
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _is_up(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.TransportError:
        return False


def write_tiny(folder: Path) -> None:
    """The tiny trained LLaVA, which never ends an answer: the marks' logits are always 0."""
    from safetensors.torch import load_file, save_file

    file = copied(LLAVA, folder) / "model.safetensors"
    tensors = load_file(file)
    next(tensor for name, tensor in tensors.items() if name.endswith("lm_head.weight"))[:4] = 0
    save_file(tensors, file, {"format": "pt"})


def write_onevision(folder: Path) -> None:
    """The parts and sizes of LLaVA-OneVision 0.5B with random weights, and words for a vocabulary of its size.

    Its processor is called LLaVA-NeXT's, which makes the same of one square picture: its own wants Torchvision.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from fixtures.random_llavas import written

    vision = transformers.SiglipVisionConfig(hidden_size=1152, intermediate_size=4304, num_hidden_layers=26,
                                             num_attention_heads=16, image_size=384, patch_size=14,
                                             vision_use_head=False)  # fmt: skip
    text = transformers.Qwen2Config(hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                                    num_attention_heads=14, num_key_value_heads=2, vocab_size=VOCABULARY,
                                    eos_token_id=0, tie_word_embeddings=True)  # fmt: skip
    pictures = transformers.LlavaOnevisionImageProcessorPil()
    config = transformers.LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=MARKS.index("<image>"),
        video_token_index=MARKS.index("<video>"), image_grid_pinpoints=pictures.image_grid_pinpoints,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.set_default_dtype(torch.bfloat16)
    written("llava_onevision", folder, config=config)
    torch.set_default_dtype(torch.float32)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*MARKS, *letters, *(f"\u0120w{number}" for number in range(VOCABULARY - len(MARKS) - len(letters)))]
    backend = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(MARKS))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=MARKS[0], pad_token=MARKS[0])
    template = (
        "{% for message in messages %}{{ '<|im_start|>' + message.role }} {% for part in message.content %}"
        "{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}<|im_end|>{% endfor %}assistant:"
    )
    transformers.LlavaNextProcessor(
        pictures, tokenizer, patch_size=14, vision_feature_select_strategy="full", chat_template=template
    ).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=ROUNDS, help="one checkpoint")
    sys.exit(main(parser.parse_args().only))
