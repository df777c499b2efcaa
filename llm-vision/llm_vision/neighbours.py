"""Packages that a model's libraries would take just because somebody has installed them beside the service.

Nothing here needs them, and they change answers or keep models from loading: torchvision built for another torch, a
device's plug-in without its driver, kernels and adapters found in a folder.
"""

from __future__ import annotations

import os
import sys

_OF_LIBRARIES = (
    "apex", "deepspeed", "flash_attn", "flash_attn_interface", "flax", "hqq", "jax", "kernels", "mistral_common", "mlx",
    "opt_einsum", "optimum", "peft", "tensorflow", "torch_npu", "torch_xla", "torchao", "torchaudio", "torchcomms",
    "torchvision", "xformers",
)  # fmt: skip
"""What Transformers, Accelerate and torch look for by themselves, and docs/models.md does not name."""


def hide_neighbours() -> None:
    """Let libraries find none of them; called before the first one is imported."""
    for name in _OF_LIBRARIES:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # how Python marks what cannot be imported
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"  # torch imports every device's plug-in that it finds
