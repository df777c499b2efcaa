"""Turns tokens into text as they come, up to a stop text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..base import JsonObject

if TYPE_CHECKING:
    import torch


class TextStream:
    """The text of one request; nothing that might still be taken back is given out.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        stop: texts that end the answer and are not part of it.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str]) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._stop = [text for text in stop if text]
        self._longest = max(map(len, self._stop), default=1) - 1
        self._held = ""
        self.text = ""
        """All that was given out."""
        self.is_stopped = False

    def told(self, token: int, logarithms: torch.Tensor, alternatives: int) -> JsonObject:
        """What is told of a token, and of the most probable ones in its place.

        Args:
            token: that was chosen.
            logarithms: log-probabilities, shape (vocabulary,).
            alternatives: how many.
        """
        best = logarithms.topk(alternatives).indices.tolist() if alternatives else []
        return {
            **self._one(token, logarithms),
            "top_logprobs": [self._one(other, logarithms) for other in best if math.isfinite(logarithms[other])],
        }

    def _one(self, token: int, logarithms: torch.Tensor) -> JsonObject:
        text = self._tokenizer.decode([token], skip_special_tokens=False)
        is_whole = "\ufffd" not in text  # else it is a part of a character
        return {"token": text, "logprob": float(logarithms[token]), "bytes": list(text.encode()) if is_whole else None}

    def add(self, token: int) -> str:
        """The text that is certain now that this token has come."""
        self._held += self._decoder.step(self._tokenizer, token) or ""
        found = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.is_stopped = True
            self._held = self._held[: min(found)]
            return self.end()
        return self._give(self._certain())

    def end(self) -> str:
        """What was still held back, when no more tokens come."""
        self._held = self._held.rstrip()
        return self._give(len(self._held))

    def _certain(self) -> int:
        """How many characters cannot become part of a stop text or of space at the end."""
        start = max(0, len(self._held) - self._longest)
        for at in range(start, len(self._held)):
            if any(stop.startswith(self._held[at:]) for stop in self._stop):
                return len(self._held[:at].rstrip())
        return len(self._held.rstrip())

    def _give(self, count: int) -> str:
        piece, self._held = self._held[:count], self._held[count:]
        piece = piece if self.text else piece.lstrip()
        self.text += piece
        return piece
