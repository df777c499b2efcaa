"""What the gateway knows of a published checkpoint of a vision-language model."""

from __future__ import annotations

from dataclasses import dataclass

from ...base import ModelSpec, Task, Volume, Weights

GIGABYTE = 10**9
PREFIX_BYTES = 512 * 1024 * 1024
"""What was read before, kept for the next question: of LLaVA 1.5 7B, the 620 tokens of one picture take 330 MB."""
FEATURE_BYTES = 64 * 1024 * 1024
"""Pictures that were looked at: one takes up to 24 MB (LLaVA 1.6, 2,880 tokens 4,096 wide)."""
WORKING_BYTES = 1 * GIGABYTE + FEATURE_BYTES
"""Beside its weights and prefixes: the libraries, a picture and its features, the tokens of a few requests."""
LONGEST_STEP = 60.0
"""Seconds for one layer of the largest model, or for looking at the largest picture, on a slow processor."""


@dataclass(frozen=True)
class Variant:
    """A published checkpoint."""

    repo: str
    kind: str
    """`model_type` of its config.json."""
    title: str
    license: str
    parameters: float
    """In thousands of millions."""
    template: str
    """Its chat template (Jinja) where the checkpoint has none."""
    aliases: tuple[str, ...] = ()
    """Its authors' own name for it, for files in a format that Transformers does not read; and Ollama's names for it,
    or for a model of its kind that is not offered here."""
    max_batch: int = 4
    prefix_bytes: int = PREFIX_BYTES
    """Room for prompts that were read: at least one of a picture, of 2,900 tokens for LLaVA 1.6."""

    @property
    def spec(self) -> ModelSpec:
        """What the gateway knows of it."""
        working_bytes = WORKING_BYTES + self.prefix_bytes
        weight_bytes = int(self.parameters * 2 * GIGABYTE)  # 16 bits each, on the hub too
        return ModelSpec(
            model_id=self.repo,
            title=self.title,
            tasks=frozenset({Task.CHAT}),
            license=self.license,
            memory_bytes=weight_bytes + working_bytes,
            max_batch=self.max_batch,
            devices=frozenset({"cpu", "cuda"}),
            weights=Weights(self.repo, Volume.LLAVA, self.kind, download_bytes=weight_bytes),
            quantizable=frozenset({"cpu", "cuda"}),
            working_bytes=working_bytes,
            aliases=self.aliases,
            is_stepped=True,
            longest_step=LONGEST_STEP,
        )
