"""Decides among given answers by how probable the model finds each of them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidParameter

if TYPE_CHECKING:
    import torch

Tokens = tuple[int, ...]
Follow = Callable[[Tokens, int], "torch.Tensor"]
"""Logits (tokens, vocabulary) behind each of some tokens, which stand so many places behind the prompt."""

NEGLIGIBLE = 1e-5
"""Of the most probable first token: spellings that begin less probably are not weighed."""


@dataclass
class _Spelling:
    """One of those of an answer, while it is weighed."""

    text: str
    """The answer."""
    tokens: Tokens
    must_end: bool
    """Whether the probability of ending behind it counts, too."""
    logarithm: float
    """Of the probability of what was weighed of it."""
    read: int = 0
    """Tokens that were read."""

    @property
    def to_read(self) -> Tokens:
        """All tokens that something is to be known behind."""
        return self.tokens if self.must_end else self.tokens[:-1]


class Choices:
    """The answers of one request.

    The probability of an answer is the sum over its spellings (with a space in front, with a capital letter or none)
    of the product of its tokens' probabilities; all answers together have 1. An answer that is the beginning of
    another one also has to end there.

    Args:
        texts: the answers.
        tokens: of a text.
        end_tokens: those that end an answer.
    """

    def __init__(self, texts: Sequence[str], tokens: Callable[[str], list[int]], end_tokens: frozenset[int]) -> None:
        self._spellings = {text: {tuple(tokens(spelling)) for spelling in _spellings(text)} for text in texts}
        self._ends = list(end_tokens)
        owners: dict[Tokens, str] = {}
        for text, spellings in self._spellings.items():
            for spelling in spellings:
                if not spelling or owners.setdefault(spelling, text) != text:
                    raise InvalidParameter("two choices cannot be told apart", param="choices")
        self._all = set(owners)
        self._sums: dict[str, float] = {}
        self._left: deque[_Spelling] = deque()

    def begin(self, logits: torch.Tensor) -> None:
        """Weigh the first tokens; whatever was weighed before is forgotten.

        Args:
            logits: of the first token, shape (vocabulary,).
        """
        first = logits.float().log_softmax(-1)
        least = float(max(first[list({tokens[0] for tokens in self._all})])) + math.log(NEGLIGIBLE)
        self._sums = dict.fromkeys(self._spellings, 0.0)
        self._left.clear()
        for text, spellings in self._spellings.items():
            for tokens in spellings:
                if (logarithm := float(first[tokens[0]])) >= least:
                    self._left.append(_Spelling(text, tokens, self._must_end(tokens), logarithm))
        self._end_whole()

    @property
    def are_weighed(self) -> bool:
        """Whether all probabilities are known."""
        return not self._left

    @property
    def probabilities(self) -> dict[str, float]:
        """Of each text, once they are weighed."""
        total = sum(self._sums.values())
        return {text: value / total if total else 1 / len(self._sums) for text, value in self._sums.items()}

    def go_on(self, follow: Follow, most: int) -> None:
        """Weigh some more tokens of one spelling; a failure leaves all as it was.

        Args:
            follow: goes on behind the prompt.
            most: tokens that are read.
        """
        spelling = self._left[0]
        start = spelling.read
        end = min(start + most, len(spelling.to_read))
        following = follow(spelling.tokens[start:end], start).float().log_softmax(-1)
        known = spelling.tokens[start + 1 : end + 1]
        spelling.logarithm += sum(float(following[place, token]) for place, token in enumerate(known))
        if end == len(spelling.tokens):
            spelling.logarithm += float(following[-1, self._ends].logsumexp(-1))
        spelling.read = end
        self._end_whole()

    def _end_whole(self) -> None:
        while self._left and self._left[0].read == len(self._left[0].to_read):
            spelling = self._left.popleft()
            self._sums[spelling.text] += math.exp(spelling.logarithm)

    def _must_end(self, tokens: Tokens) -> bool:
        return any(other != tokens and other[: len(tokens)] == tokens for other in self._all)


def _spellings(text: str) -> set[str]:
    cases = {text, text.lower(), text[:1].upper() + text[1:]}
    return {start + case for case in cases for start in ("", " ")}
