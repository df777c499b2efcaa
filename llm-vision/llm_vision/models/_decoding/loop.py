"""Decodes several requests together, one token each at a time; each leaves when it has come to its end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..base import Item, JsonObject
from .cache import TokenCache
from .sampling import Sampler
from .text import TextStream

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LanguageModel:
    """The part of a model that goes on with a text.

    A decoder of Transformers, its head, and the tokens that end a text.
    """

    decoder: Any
    head: Any
    end_tokens: frozenset[int]

    def prefill(self, embedded: torch.Tensor) -> tuple[torch.Tensor, TokenCache]:
        """Read a prompt of shape (1, tokens, width): logits of the next token (vocabulary,), and its cache."""
        cache = TokenCache(self.decoder.config.num_hidden_layers)
        hidden = self.decoder(inputs_embeds=embedded, past_key_values=cache, use_cache=True).last_hidden_state
        return self.head(hidden[:, -1])[0], cache

    def step(
        self, tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: TokenCache
    ) -> torch.Tensor:
        """Logits (rows, vocabulary) behind one more token (rows, 1) of each row; the mask tells padding (0)."""
        is_whole = len(mask) == 1  # a single row has no padding, and is faster without a mask
        hidden = self.decoder(
            input_ids=tokens,
            attention_mask=None if is_whole else mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        logits: torch.Tensor = self.head(hidden[:, -1])
        return logits


@dataclass(eq=False)
class Row:
    """A request that is being answered."""

    item: Item
    sampler: Sampler
    stream: TextStream
    prompt_tokens: int
    max_tokens: int
    logarithms: list[float] = field(default_factory=list)
    last_token: int = 0
    finish_reason: str | None = None

    @property
    def length(self) -> int:
        """Tokens that the cache holds of it: all but the last one."""
        return self.prompt_tokens + len(self.logarithms) - 1

    def take(self, logits: torch.Tensor, end_tokens: frozenset[int]) -> None:
        """Choose the next token from its logits (vocabulary,) and send on what it says."""
        token, logarithm = self.sampler.choose(logits)
        self.last_token = token
        self.logarithms.append(logarithm)
        if token in end_tokens:
            self._finish("stop")
        else:
            self._send(self.stream.add(token))
            if self.stream.is_stopped:
                self.finish_reason = "stop"
            elif len(self.logarithms) >= self.max_tokens:
                self._finish("length")

    def _finish(self, reason: str) -> None:
        self._send(self.stream.end())
        self.finish_reason = reason

    def _send(self, text: str) -> None:
        if text:
            self.item.send_token(text)

    @property
    def result(self) -> JsonObject:
        """The answer, with exp(mean log-probability of its tokens) as confidence."""
        count = len(self.logarithms)
        return {
            "text": self.stream.text,
            "confidence": math.exp(sum(self.logarithms) / count),
            "finish_reason": self.finish_reason or "length",
            "usage": {"prompt_tokens": self.prompt_tokens, "completion_tokens": count},
        }


class Decoding:
    """The rows that are decoded together.

    Args:
        model: what goes on with them.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._rows: list[Row] = []
        self._cache: TokenCache | None = None

    def join(self, row: Row, embedded: torch.Tensor) -> None:
        """Read a row's prompt, of shape (1, tokens, width), and let it take part."""
        logits, cache = self._model.prefill(embedded)
        row.take(logits, self._model.end_tokens)
        if row.finish_reason is None:
            self._rows.append(row)
            self._cache = cache if self._cache is None else self._cache.joined(cache)

    def run(self) -> None:
        """Go on until every row has ended."""
        while self._rows:
            self.step()

    def step(self) -> None:
        """One more token for each row; those that have ended, or that nobody waits for, leave before and after."""
        self._drop_finished()
        if not self._rows:
            return
        assert self._cache is not None  # noqa: S101
        tokens, mask, positions = self._inputs(self._cache.get_seq_length() + 1)
        logits = self._model.step(tokens, mask, positions, self._cache)
        for row, row_logits in zip(self._rows, logits, strict=True):
            row.take(row_logits, self._model.end_tokens)
        self._drop_finished()

    def _inputs(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The last tokens (rows, 1), which of `size` places are used (rows, size), and positions (rows, 1)."""
        import torch

        device = self._model.head.weight.device
        lengths = torch.tensor([[row.length] for row in self._rows], device=device)
        tokens = torch.tensor([[row.last_token] for row in self._rows], device=device)
        mask = (torch.arange(size, device=device)[None] >= size - 1 - lengths).long()
        return tokens, mask, lengths

    def _drop_finished(self) -> None:
        left = [number for number, row in enumerate(self._rows) if row.finish_reason is None and not row.item.cancelled]
        if len(left) == len(self._rows):
            return
        self._rows = [self._rows[number] for number in left]
        if not self._rows:
            self._cache = None
            return
        assert self._cache is not None  # noqa: S101
        unused = self._cache.get_seq_length() - max(row.length for row in self._rows)
        self._cache.keep(left, unused)
