"""Decodes several requests together, one token each at a time; each joins and leaves between two tokens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import ClientClosed
from ..base import Item, JsonObject
from .cache import TokenCache
from .language_model import LanguageModel, Left
from .prefixes import PrefixStore
from .row import Row

if TYPE_CHECKING:
    import torch

CHUNK = 256
"""Tokens of a prompt, or of an answer to be weighed, that are read between two tokens of the others: on two cores, a 7B
model takes 3 s for them."""

PATIENCE = 0.05
"""Seconds that a step waits to know what rows may say next; those of which it is not known then sit out."""
_LOOK_AGAIN = 0.01
"""Seconds until new requests are looked at, where all wait to know that."""

Ended = tuple[Row, "JsonObject | Exception"]


@dataclass(eq=False)
class Prompt:
    """What a request says, before it is answered."""

    row: Row
    embedded: torch.Tensor
    """Shape (1, tokens, width)."""
    positions: torch.Tensor
    """Of the tokens; shape (1, tokens), or (axes, 1, tokens)."""
    key: Sequence[int]
    """One number for each token: equal where equal tokens, or the same part of the same picture, stand."""
    cache: TokenCache | None = None
    waits: bool = False
    """Whether it is read only when nobody else is being answered: memory was short."""


@dataclass(eq=False)
class Resting:
    """A request that sits out until it is known what it may say next."""

    prompt: Prompt
    logits: torch.Tensor
    """Of its next token; shape (vocabulary,)."""
    cache: TokenCache
    """Of its tokens so far."""


class Decoding:
    """The requests that are decoded together.

    Args:
        model: what goes on with them.
        prefixes: what was read before.
    """

    def __init__(self, model: LanguageModel, prefixes: PrefixStore) -> None:
        self._model = model
        self._prefixes = prefixes
        self._waiting: deque[Prompt] = deque()
        self._rows: list[Row] = []
        self._prompts: dict[Row, Prompt] = {}
        """Of the rows."""
        self._deciding: deque[Prompt] = deque()
        """Those that were read, and whose answers are being weighed."""
        self._has_decided = False
        """Whether that was the last thing done, so that it is the next prompt's turn."""
        self._cache: TokenCache | None = None
        self._resting: list[Resting] = []
        self._ended: list[Ended] = []
        """What is to be told of yet: a step may fail behind the end of a row."""

    @property
    def has_unread(self) -> bool:
        """Whether a prompt can be read now."""
        return any(prompt.row.is_ready() for prompt in self._waiting)

    def join(self, prompt: Prompt) -> None:
        """Let a request take part from the next step on."""
        self._waiting.append(prompt)

    def leave(self, item: Item) -> None:
        """Forget a request."""
        for row in self._all_rows:
            if row.item is item:
                row.close()
        self._waiting = deque(prompt for prompt in self._waiting if prompt.row.item is not item)
        self._resting = [resting for resting in self._resting if resting.prompt.row.item is not item]
        self._deciding = deque(prompt for prompt in self._deciding if prompt.row.item is not item)
        self._keep([number for number, row in enumerate(self._rows) if row.item is not item])
        self._ended = [(row, outcome) for row, outcome in self._ended if row.item is not item]

    @property
    def _all_rows(self) -> list[Row]:
        """Those that have not ended."""
        prompts = [*self._waiting, *self._deciding, *(resting.prompt for resting in self._resting)]
        return [*self._rows, *(prompt.row for prompt in prompts)]

    def shrink(self) -> Row | None:
        """Need less memory: what was read last waits until the others have ended; alone, it leaves and is returned."""
        if self._resting:
            self._waiting.append(self._with_answer(self._resting.pop().prompt))
            return None
        prompt = self._waiting[0] if self._waiting else None
        if prompt and not (prompt.waits and self.is_answering):
            if self.is_answering:
                prompt.waits = True
                return None
            self._waiting.popleft()
            prompt.row.close()
            return prompt.row
        if self._deciding:
            return self._put_off_decision()
        youngest = self._rows[-1]
        prompt = self._prompts[youngest]
        self._keep(range(len(self._rows) - 1))
        if not self._rows:
            youngest.close()
            return youngest
        self._waiting.appendleft(self._with_answer(prompt))
        return None

    def _put_off_decision(self) -> Row | None:
        prompt = self._deciding.pop()
        if not self.is_answering:
            return prompt.row
        prompt.cache, prompt.waits = None, True
        self._waiting.appendleft(prompt)
        return None

    def _with_answer(self, prompt: Prompt) -> Prompt:
        """What is to be read when an answer goes on: the prompt, and the answer so far."""
        import torch

        row = prompt.row
        asked = row.prompt_tokens
        embedded = self._model.extend(prompt.embedded[:, :asked], row.tokens)
        answer = torch.arange(asked, embedded.shape[1], device=embedded.device) + row.position_shift
        given = prompt.positions[..., :asked]
        positions = torch.cat([given, answer.expand(*given.shape[:-1], -1)], dim=-1)
        return Prompt(row, embedded, positions, [*prompt.key[:asked], *row.tokens], waits=True)

    def step(self) -> list[Ended]:
        """One more token for each row, and some more of a prompt; those that have ended."""
        self._drop_cancelled()
        if self._rows:
            self._decode()
            self._drop([row for row in self._rows if row.is_finished])
        self._go_on_with_rested()
        prompt = self._next_prompt()
        can_read = prompt is not None and not (self.is_answering and prompt.waits)
        self._has_decided = bool(self._deciding) and not (can_read and self._has_decided)
        if self._has_decided:
            self._decide()
        elif prompt and can_read:
            self._read(prompt)
        elif not self.is_answering and (rows := self._all_rows):
            rows[0].is_ready(_LOOK_AGAIN)
        ended, self._ended = self._ended, []
        return ended

    @property
    def is_answering(self) -> bool:
        """Whether somebody's prompt has been read."""
        return bool(self._rows or self._deciding)

    def _drop_cancelled(self) -> None:
        for prompts in (self._waiting, self._deciding):
            for prompt in [prompt for prompt in prompts if prompt.row.item.cancelled]:
                prompts.remove(prompt)
                self._end(prompt.row, _left())
        for resting in [resting for resting in self._resting if resting.prompt.row.item.cancelled]:
            self._resting.remove(resting)
            self._end(resting.prompt.row, _left())
        self._drop([row for row in self._rows if row.item.cancelled])

    def _next_prompt(self) -> Prompt | None:
        """The first that can be read, put in front of the others; those that cannot be answered end."""
        ready = [prompt for prompt in self._waiting if prompt.row.is_ready()]
        for prompt in ready:
            self._waiting.remove(prompt)
            if prompt.row.failure:
                self._end(prompt.row, prompt.row.failure)
        readable = [prompt for prompt in ready if not prompt.row.failure]
        self._waiting.extendleft(reversed(readable))
        return readable[0] if readable else None

    def _read(self, prompt: Prompt) -> None:
        """Go on with a prompt, the first one: all of it where nobody else waits for tokens."""
        row = prompt.row
        if prompt.cache is None:
            reused, prompt.cache = self._prefixes.longest(row.item.owner, prompt.key) or (0, self._model.new_cache())
            row.reused_tokens = row.reused_tokens if row.tokens else reused
        done = prompt.cache.get_seq_length()
        end = min(done + CHUNK, prompt.embedded.shape[1]) if self.is_answering else prompt.embedded.shape[1]
        try:
            with self._model.interrupted(row.item):
                logits = self._model.read(prompt.embedded[:, done:end], prompt.positions[..., done:end], prompt.cache)
        except Left:
            self._waiting.popleft()
            self._end(row, _left())
            return
        except BaseException:
            prompt.cache = None  # some layers have read more than others
            raise
        if end < prompt.embedded.shape[1]:
            return
        self._waiting.popleft()
        self._prefixes.keep(row.item.owner, prompt.key, prompt.cache)
        self._begin(prompt, logits, prompt.cache)

    def _begin(self, prompt: Prompt, logits: torch.Tensor, cache: TokenCache) -> None:
        """The first token of an answer, or the next one where it had to wait."""
        row = prompt.row
        row.begin(logits, self._model.end_tokens)
        if row.is_finished:
            self._end(row, row.outcome)
            return
        if row.choices:
            self._deciding.append(prompt)
            return
        self._cache = cache if self._cache is None else self._cache.join(cache)
        self._rows.append(row)
        self._prompts[row] = prompt

    def _decide(self) -> None:
        """Go on with one decision; the next one's turn comes then."""
        prompt = self._deciding[0]
        row, cache = prompt.row, prompt.cache
        assert cache is not None  # noqa: S101
        try:
            with self._model.interrupted(row.item):
                row.decide(cache, self._model, CHUNK)
        except Left:
            self._deciding.popleft()
            self._end(row, _left())
            return
        self._deciding.rotate(-1)
        if row.is_finished:
            self._deciding.remove(prompt)
            self._end(row, row.outcome)

    def _decode(self) -> None:
        assert self._cache is not None  # noqa: S101
        done = self._cache.get_seq_length()
        try:
            logits = self._model.step(*self._inputs(done + 1), self._cache)
            resting = self._late(logits, self._cache)
        except BaseException:
            self._cache.crop(done)  # some layers have read more than others
            raise
        late = {rests.prompt.row for rests in resting}
        for row, row_logits in zip(self._rows, logits, strict=True):
            if row not in late:
                row.take(row_logits, self._model.end_tokens)
        self._resting += resting
        self._keep([number for number, row in enumerate(self._rows) if row not in late])

    def _late(self, logits: torch.Tensor, cache: TokenCache) -> list[Resting]:
        """The rows of which it takes too long to know what they may say next, with their part of logits and cache."""
        until = time.monotonic() + PATIENCE
        late = [
            (number, row)
            for number, row in enumerate(self._rows)
            if not row.is_ready(max(until - time.monotonic(), 0.0))
        ]
        return [
            Resting(self._prompts[row], logits[number].clone(), cache.row(number, row.length + 1))
            for number, row in late
        ]

    def _go_on_with_rested(self) -> None:
        for resting in [resting for resting in self._resting if resting.prompt.row.is_ready()]:
            self._resting.remove(resting)
            self._begin(resting.prompt, resting.logits, resting.cache)

    def _inputs(self, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The last tokens (rows, 1), which of `size` places are used (rows, size), and positions (rows, 1)."""
        import torch

        device = self._model.head.weight.device
        lengths = torch.tensor([[row.length] for row in self._rows], device=device)
        tokens = torch.tensor([[row.tokens[-1]] for row in self._rows], device=device)
        mask = (torch.arange(size, device=device)[None] >= size - 1 - lengths).long()
        positions = torch.tensor([[row.position] for row in self._rows], device=device)
        return tokens, mask, positions

    def _drop(self, gone: Sequence[Row]) -> None:
        """Rows leave: whole ones with their answers."""
        if gone:
            self._keep([number for number, row in enumerate(self._rows) if row not in gone])
            for row in gone:
                self._end(row, row.outcome if row.is_finished else _left())

    def _end(self, row: Row, outcome: JsonObject | Exception) -> None:
        row.close()
        self._ended.append((row, outcome))

    def _keep(self, places: Sequence[int]) -> None:
        if len(places) == len(self._rows):
            return
        self._rows = [self._rows[number] for number in places]
        self._prompts = {row: self._prompts[row] for row in self._rows}
        if not self._rows:
            self._cache = None
            return
        assert self._cache is not None  # noqa: S101
        unused = self._cache.get_seq_length() - max(row.length for row in self._rows)
        self._cache.keep(places, unused)


def _left() -> ClientClosed:
    return ClientClosed("nobody waits for this answer")
