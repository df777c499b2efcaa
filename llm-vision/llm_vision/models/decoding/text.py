"""Turns tokens into text as they come, up to a stop text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from ..base import JsonObject

if TYPE_CHECKING:
    import torch


_ANCHOR = "a"
"""Stands in front of a token that is told: a decoder takes the space from the beginning of a text."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


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

    def describe(self, token: int, logarithms: torch.Tensor, alternatives: int) -> JsonObject:
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

    @cached_property
    def _anchor(self) -> tuple[list[int], str]:
        """Its tokens, and what they say alone."""
        ids: list[int] = self._tokenizer.encode(_ANCHOR, add_special_tokens=False).ids
        return ids, self._tokenizer.decode(ids, skip_special_tokens=False)

    def _one(self, token: int, logarithms: torch.Tensor) -> JsonObject:
        anchor, before = self._anchor
        text = self._tokenizer.decode([*anchor, token], skip_special_tokens=False).removeprefix(before)
        is_whole = "\ufffd" not in text  # else it is a part of a character
        coded = text.encode() if is_whole else _bytes_of(self._tokenizer.id_to_token(token))
        return {"token": text, "logprob": float(logarithms[token]), "bytes": None if coded is None else list(coded)}

    def add(self, token: int) -> str:
        """The text that is certain now that this token has come."""
        self._held += self._decoder.step(self._tokenizer, token) or ""
        stops = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if stops:
            self.is_stopped = True
            self._held = self._held[: min(stops)]
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
        chunk, self._held = self._held[:count], self._held[count:]
        chunk = chunk if self.text else chunk.lstrip()
        self.text += chunk
        return chunk


def _bytes_of(entry: str) -> bytes | None:
    """What an entry of a vocabulary stands for: a byte, or the bytes that GPT-2 writes as letters; None for others."""
    if byte := _BYTE.fullmatch(entry):
        return bytes.fromhex(byte[1])
    letters = _byte_letters()
    return bytes(letters[letter] for letter in entry) if set(entry) <= set(letters) else None


@cache
def _byte_letters() -> dict[str, int]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
