"""What means more than its letters in a prompt, and texts of clients in which none of it is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from ....errors import InvalidText

_ROUNDS = 16
"""In which a text is spelled apart: each round leaves shorter marks than the one before it."""


class Marks:
    """The marks of one checkpoint: all tokens that were added to its vocabulary, special or not.

    `<|im_start|>` is one that is not special in some checkpoints, and it opens a role all the same. Marks of one
    character or of space alone say nothing and stay as they are.

    Args:
        tokenizer: of Transformers.
        image_mark: what its template writes for a picture.
    """

    def __init__(self, tokenizer: Any, image_mark: str) -> None:
        self._encode = tokenizer.backend_tokenizer.encode
        added = {token: entry.content for token, entry in tokenizer.added_tokens_decoder.items()}
        self._ids = frozenset(token for token, mark in added.items() if _says_something(mark))
        self._marks = [*filter(_says_something, {*added.values(), *tokenizer.all_special_tokens, image_mark})]

    def spell_apart(self, texts: Sequence[str]) -> list[str]:
        """The texts with a space in each mark that one of them has, or that they have together.

        Templates may move what stands between them. A mark that the tokenizer would only find behind its normalizer
        (in other letters, say) counts, too.

        Raises:
            InvalidText: a space does not help.
        """
        whole, ends = "".join(texts), list(accumulate(map(len, texts)))
        for _ in range(_ROUNDS):
            cuts = self._find_cuts(whole)
            if not cuts:
                return [whole[start:end] for start, end in pairwise([0, *ends])]
            whole = " ".join(whole[start:end] for start, end in pairwise([0, *cuts, len(whole)]))
            ends = [end + sum(cut < end for cut in cuts) for end in ends]
        raise InvalidText("a text has marks of this model that cannot be taken for text", param="messages")

    def _find_cuts(self, text: str) -> list[int]:
        """Places behind the first letter of each mark."""
        if plain := {at + 1 for mark in self._marks for at in _places(mark, text)}:
            return sorted(plain)
        encoding = self._encode(text, add_special_tokens=False)
        spans = [span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token in self._ids]
        return [end - len(text[start:end].lstrip()) + 1 for start, end in spans]


def _places(mark: str, text: str) -> Iterator[int]:
    at = text.find(mark)
    while at >= 0:
        yield at
        at = text.find(mark, at + 1)


def _says_something(mark: str) -> bool:
    return len(mark.strip()) > 1
