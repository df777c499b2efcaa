"""Measures LLaVA-1.5-7B with random weights on a GPU, in 16 bits and bitsandbytes' 4 bits, each in its own process.

`python -m benchmarks.llava_gpu --device cpu --layers 1` runs the same code without a GPU, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.llava_int4 import GIGABYTE, LAYERS, PEER, TOKENS, answer, checkpoint
from benchmarks.report import ROUNDS, Result, middle, report

MOST_LEFT = 0.05
"""Share of the loaded memory that may remain after the process has ended."""
_SETTLE_SECONDS = 2.0


def main(layers: int = LAYERS, device: str = "cuda:0") -> int:
    if device != "cpu" and _used_bytes() is None:
        print("no GPU found", file=sys.stderr)
        return 2
    with checkpoint(layers) as folder:
        if folder is None:
            return 2
        plain, four = (_in_its_own_process(bits, folder, device) for bits in ("none", "4bit"))
    rows = [
        (f"LLaVA 1.5, {layers} layers, {device}", "bf16", "NF4"),
        *[(name, f"{plain[name]:.2f}", f"{four[name]:.2f}") for name in plain],
    ]
    results = [
        Result("llava_gpu memory left", way["left"], "GB", PEER, None, f"at most {MOST_LEFT:.0%}",
               met=way["left"] <= MOST_LEFT * max(way["loaded"] - way["before"], 0.1))
        for way in (plain, four)
    ]  # fmt: skip
    return report(rows, *results)


def _in_its_own_process(bits: str, folder: Path, device: str) -> dict[str, float]:
    """Times in seconds; GPU memory in GB before and after the load, and what remains after the process ends."""
    before = (_used_bytes() or 0) / GIGABYTE
    command = [sys.executable, "-m", "benchmarks.llava_gpu", "--measure", bits, "--folder", str(folder)]
    done = subprocess.run([*command, "--device", device], check=True, capture_output=True, text=True)
    time.sleep(_SETTLE_SECONDS)  # the driver frees a process's memory a moment after its end
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "before": before, "left": (_used_bytes() or 0) / GIGABYTE - before}


def _used_bytes() -> int | None:
    from llm_vision.runtime.placement.device import find_gpus

    gpus = find_gpus()
    return gpus[0].total_bytes - gpus[0].free_bytes if gpus else None


def measure(bits: str, folder: Path, device: str) -> dict[str, float]:
    """Load and answer a few times about a picture."""
    import torch
    from transformers import LlavaForConditionalGeneration

    from llm_vision.models.base import Quantization
    from llm_vision.models.loading import bnb, hf

    family = LlavaForConditionalGeneration
    started = time.perf_counter()
    if bits == "none":
        model = hf.load_weights(family, folder, may_be_pickled=False, dtype=torch.bfloat16).to(device)
    else:
        model = bnb.load(family, folder, device, Quantization(bits))
    load = time.perf_counter() - started
    loaded = (_used_bytes() or 0) / GIGABYTE
    with torch.inference_mode():
        times = [answer(model) for _ in range(1 + ROUNDS)][1:]
    first, all_others = zip(*times, strict=True)
    speed = {"first token, s": middle(first), "tokens/s": TOKENS / middle(all_others)}
    return {"load, s": load, **speed, "loaded": loaded}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--measure", choices=("none", "4bit"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.folder, given.device)))
    else:
        sys.exit(main(given.layers, given.device))
