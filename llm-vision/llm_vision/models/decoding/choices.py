"""Decides among given answers by how probable the model finds each of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...errors import InvalidParameter
from ..base import Item

if TYPE_CHECKING:
    import torch

Tokens = tuple[int, ...]
Follow = Callable[[Tokens], "torch.Tensor"]
"""Logits (tokens, vocabulary) behind each of some tokens that follow the prompt; the prompt stays as it is."""

NEGLIGIBLE = 1e-5
"""Of the most probable first token: spellings that begin less probably are not weighed."""


class Choices:
    """The answers of one request.

    The probability of an answer is the sum over its spellings (with a space in front, with a capital letter or none)
    of the product of its tokens' probabilities; all answers together have 1. An answer that is the beginning of
    another one also has to end there.

    Args:
        texts: the answers.
        tokens: of a text.
    """

    def __init__(self, texts: Sequence[str], tokens: Callable[[str], list[int]]) -> None:
        self._spellings = {text: {tuple(tokens(spelling)) for spelling in _spellings(text)} for text in texts}
        owners: dict[Tokens, str] = {}
        for text, spellings in self._spellings.items():
            for spelling in spellings:
                if not spelling or owners.setdefault(spelling, text) != text:
                    raise InvalidParameter("two choices cannot be told apart", param="choices")
        self._all = set(owners)
        self.probabilities: dict[str, float] = {}
        """Of each text, once they are weighed."""

    def weigh(self, logits: torch.Tensor, follow: Follow, end_tokens: frozenset[int], item: Item) -> None:
        """Find the probabilities.

        Args:
            logits: of the first token, shape (vocabulary,).
            follow: goes on behind the prompt.
            end_tokens: those that end an answer.
            item: who asks.
        """
        first = logits.float().log_softmax(-1)
        least = float(max(first[list({tokens[0] for tokens in self._all})])) + math.log(NEGLIGIBLE)
        sums: dict[str, float] = {}
        for text, spellings in self._spellings.items():
            likely = [tokens for tokens in spellings if float(first[tokens[0]]) >= least and not item.cancelled]
            sums[text] = sum(math.exp(self._logarithm(tokens, first, follow, end_tokens)) for tokens in likely)
        total = sum(sums.values())
        self.probabilities = {text: value / total if total else 1 / len(sums) for text, value in sums.items()}

    def _logarithm(self, tokens: Tokens, first: torch.Tensor, follow: Follow, end_tokens: frozenset[int]) -> float:
        must_end = any(other != tokens and other[: len(tokens)] == tokens for other in self._all)
        total = float(first[tokens[0]])
        if len(tokens) == 1 and not must_end:
            return total
        following = follow(tokens).float().log_softmax(-1)
        total += sum(float(following[place, token]) for place, token in enumerate(tokens[1:]))
        if must_end:
            total += float(following[-1, list(end_tokens)].logsumexp(-1))
        return total


def _spellings(text: str) -> set[str]:
    cases = {text, text.lower(), text[:1].upper() + text[1:]}
    return {start + case for case in cases for start in ("", " ")}
