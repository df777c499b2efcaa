"""Compares LLaVA-1.5-7B (random weights) in 4 bits with Transformers in bf16, each in its own process.

`python -m benchmarks.llava_int4 --layers 4` is a smaller one, for development; `--threads 1` for one core.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import ROUNDS, Result, middle, report

LAYERS = 32
PROMPT, IMAGE_TOKENS, TOKENS = 606, 576, 16
THREADS = 2
GIGABYTE = 10**9
LAYER_BYTES, OTHER_BYTES = 560_000_000, 2_000_000_000  # with the 4-bit copy
LEAST_FASTER, MOST_FIRST, MOST_RESIDENT, MOST_PEAK = 2.0, 1.5, 0.45, 0.6
PEER = "transformers in bf16"


def main(layers: int = LAYERS, threads: int = THREADS) -> int:
    with checkpoint(layers) as folder:
        if folder is None:
            return 2
        ways = ("bf16", "first", "int4")
        plain, first, ours = (_in_its_own_process(way, folder, threads) for way in ways)
    rows = [
        (f"LLaVA 1.5, {layers} layers, {threads} threads", "bf16", "4 bits", "ratio", "target"),
        _row("first token, s", plain, ours, "first_token", f"at most {MOST_FIRST}"),
        _row("tokens/s", plain, ours, "tokens_per_second", f"at least {LEAST_FASTER}"),
        _row("resident, GB", plain, ours, "resident", f"at most {MOST_RESIDENT}"),
        _row("peak while loading, GB", {"peak": plain["resident"]}, ours, "peak", f"at most {MOST_PEAK}"),
        _row("peak during the first load, GB", {"peak": plain["resident"]}, first, "peak", f"at most {MOST_PEAK}"),
        _row("load, s", plain, ours, "load", ""),
        _row("first load, s", plain, first, "load", ""),
    ]
    return report(rows, *_results(plain, first, ours))


def _results(plain: dict[str, float], first: dict[str, float], ours: dict[str, float]) -> list[Result]:
    ratios = {name: ours[name] / plain[name] for name in plain}
    peak = max(ours["peak"], first["peak"])
    limits = (
        ("tokens_per_second", "tokens/s", ratios["tokens_per_second"] >= LEAST_FASTER, f"at least {LEAST_FASTER}"),
        ("first_token", "s", ratios["first_token"] <= MOST_FIRST, f"at most {MOST_FIRST}"),
        ("resident", "GB", ratios["resident"] <= MOST_RESIDENT, f"at most {MOST_RESIDENT}"),
        ("peak", "GB", peak / plain["resident"] <= MOST_PEAK, f"at most {MOST_PEAK} of bf16's resident memory"),
    )
    return [
        Result(f"llava_int4 {name}", round(ours[name], 2), unit, PEER, round(ratios[name], 3), target, met)
        for name, unit, met, target in limits
    ]


def _row(title: str, plain: dict[str, float], ours: dict[str, float], name: str, target: str) -> tuple[str, ...]:
    return (title, f"{plain[name]:.2f}", f"{ours[name]:.2f}", f"{ours[name] / plain[name]:.2f}", target)


def _in_its_own_process(way: str, folder: Path, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.llava_int4", "--measure", way, "--folder", str(folder)]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(way, json.dumps(figures), flush=True)
    return figures


def measure(way: str, folder: Path, threads: int) -> dict[str, float]:
    """Load once and, except for `first`, answer a few times about a picture; memory in GB, times in seconds."""
    import torch
    from transformers import LlavaForConditionalGeneration

    from llm_vision.models.loading import hf
    from llm_vision.models.loading.int4 import load as int4

    torch.set_num_threads(threads)
    family, dtype = LlavaForConditionalGeneration, torch.bfloat16
    started = time.perf_counter()
    if way == "bf16":
        model = hf.load_weights(family, folder, may_be_pickled=False, dtype=dtype)
    else:
        model = int4.load(family, folder, dtype)
    figures = {"load": time.perf_counter() - started, "peak": _memory("VmHWM")}
    if way == "first":
        return figures
    with torch.inference_mode():
        times = [answer(model) for _ in range(1 + ROUNDS)][1:]
    first, all_others = zip(*times, strict=True)
    return {
        **figures,
        "first_token": middle(first),
        "tokens_per_second": TOKENS / middle(all_others),
        "resident": _memory("VmRSS"),
    }


def answer(model: Any) -> tuple[float, float]:
    """The time to the first token, and from there to the last."""
    import torch

    side = model.config.vision_config.image_size
    ids = torch.full((1, PROMPT), 5, device=model.device)
    ids[:, 10 : 10 + IMAGE_TOKENS] = model.config.image_token_id
    watch = _Watch()
    started = time.perf_counter()
    model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids),
        pixel_values=torch.zeros(1, 3, side, side, dtype=torch.bfloat16, device=model.device),
        min_new_tokens=1 + TOKENS, max_new_tokens=1 + TOKENS, do_sample=False, streamer=watch,
    )  # fmt: skip
    return watch.times[1] - started, watch.times[-1] - watch.times[1]


class _Watch:
    """Records when each token arrives; the first record is the prompt's."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: object) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is held back."""


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / GIGABYTE


@contextmanager
def checkpoint(layers: int) -> Iterator[Path | None]:
    """A temporary checkpoint with random weights; None if there is no space for it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if shutil.disk_usage(folder).free < layers * LAYER_BYTES + OTHER_BYTES:
            print("not enough space for the checkpoint in the temporary folder", file=sys.stderr)
            yield None
            return
        _write_checkpoint(folder, layers)
        yield folder


def _write_checkpoint(folder: Path, layers: int) -> None:
    """The parts and sizes of llava-hf/llava-1.5-7b-hf, whose weights are not available everywhere."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                              image_size=336, patch_size=14, projection_dim=768)  # fmt: skip
    text = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=layers, vocab_size=32064)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=32000, dtype="bfloat16")
    config.architectures = ["LlavaForConditionalGeneration"]
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlavaForConditionalGeneration(config).state_dict().items()}
    parts: dict[str, list[str]] = {}
    for name in shapes:
        parts.setdefault(f"model-{name.partition('language_model.layers.')[2].partition('.')[0]}", []).append(name)
    places = {name: f"{part}.safetensors" for part, names in parts.items() for name in names}
    for part, names in parts.items():
        tensors = {name: torch.randn(shapes[name]).mul_(0.02).bfloat16() for name in names}
        save_file(tensors, folder / f"{part}.safetensors", {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--measure", choices=("bf16", "first", "int4"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.folder, given.threads)))
    else:
        sys.exit(main(given.layers, given.threads))
