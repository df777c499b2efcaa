"""A request that is being answered: its tokens so far, and what was told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from ...errors import VisionError
from ..base import Item, JsonObject
from ..tasks.chat import Reply, TokenUsage, Weighed
from .confidence import mean_probability
from .sampling import Sampler
from .text import TextStream

if TYPE_CHECKING:
    import torch

    from .cache import TokenCache
    from .choices import Choices
    from .language_model import LanguageModel


class TokenConstraint(Protocol):
    """What an answer must look like; see `grammar.constraints.Constraint`."""

    failure: VisionError | None

    def is_ready(self, seconds: float | None = 0.0) -> bool: ...

    def allowed(self, logits: torch.Tensor) -> torch.Tensor: ...

    def take(self, token: int) -> None: ...

    def close(self) -> None: ...


@dataclass(eq=False)
class Row:
    """One of the requests that are decoded together."""

    item: Item
    sampler: Sampler
    stream: TextStream
    prompt_tokens: int
    max_tokens: int
    top_logprobs: int | None = None
    """How many alternatives of each token are told; None to tell nothing of tokens."""
    constraint: TokenConstraint | None = None
    choices: Choices | None = None
    """The answers among which it decides, where it does not write one."""
    position_shift: int = 0
    """From the place of a token of the answer to its position: a picture may take fewer positions than tokens."""
    reused_tokens: int = 0
    """Of the prompt, what had been read before."""
    logarithms: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Of the answer so far."""
    finish_reason: Literal["stop", "length"] | None = None
    failure: VisionError | None = None
    """Why it cannot go on."""
    _told: list[JsonObject] = field(default_factory=list)
    _untold: list[JsonObject] = field(default_factory=list)
    """Of tokens whose text was not sent yet."""

    @property
    def length(self) -> int:
        """Tokens that the cache holds of it: all but the last one."""
        return self.prompt_tokens + len(self.tokens) - 1

    @property
    def position(self) -> int:
        """Of the last token, which the cache does not hold yet."""
        return self.length + self.position_shift

    @property
    def is_finished(self) -> bool:
        """Whether the answer is whole, as long as it may be, or cannot go on."""
        return self.finish_reason is not None or self.failure is not None

    @property
    def outcome(self) -> JsonObject | Exception:
        """What has become of it."""
        return self.failure or self.result

    def is_ready(self, seconds: float = 0.0) -> bool:
        """Whether it is known what its next token may be, or that there is none; waits at most so long for that."""
        if self.constraint is None:
            return True
        is_ready = self.constraint.is_ready(seconds)
        self.failure = self.constraint.failure
        return is_ready

    def close(self) -> None:
        """It has ended, or left."""
        if self.constraint:
            self.constraint.close()

    def begin(self, logits: torch.Tensor, end_tokens: frozenset[int]) -> None:
        """Choose the first token, behind the prompt, from its logits (vocabulary,); or begin to decide."""
        if self.choices:
            self.choices.begin(logits)
            self._end_decision(self.choices)
        else:
            self.take(logits, end_tokens)

    def decide(self, cache: TokenCache, model: LanguageModel, most: int) -> None:
        """Read some more tokens of an answer among which it decides; a failure leaves all as it was.

        Args:
            cache: of the prompt; what stands behind that may change.
            model: what reads.
            most: tokens.
        """
        assert self.choices is not None  # noqa: S101

        def follow(tokens: Sequence[int], place: int) -> torch.Tensor:
            done = self.prompt_tokens + place
            cache.crop(done)  # of another spelling, or of a try that has failed
            return model.follow(tokens, done + self.position_shift, cache)

        self.choices.go_on(follow, most)
        self._end_decision(self.choices)

    def _end_decision(self, choices: Choices) -> None:
        if choices.are_weighed:
            self.finish_reason = "stop"

    def take(self, logits: torch.Tensor, end_tokens: frozenset[int]) -> None:
        """Choose the next token from its logits (vocabulary,) and send on what it says."""
        try:
            self._take(logits, end_tokens)
        except VisionError as error:
            self.failure = error

    def _take(self, logits: torch.Tensor, end_tokens: frozenset[int]) -> None:
        if self.constraint:
            logits = self.constraint.allowed(logits)
        token, logarithms = self.sampler.choose(logits)
        self.tokens.append(token)
        self.logarithms.append(float(logarithms[token]))
        if token in end_tokens:
            self._finish("stop")
            return
        if self.constraint:
            self.constraint.take(token)
        if self.top_logprobs is not None:
            self._untold.append(self.stream.describe(token, logarithms, self.top_logprobs))
        self._send(self.stream.add(token))
        if self.stream.is_stopped:
            self.finish_reason = "stop"
            self._send("")
        elif len(self.logarithms) >= self.max_tokens:
            self._finish("length")

    def _finish(self, reason: Literal["stop", "length"]) -> None:
        self.finish_reason = reason
        self._send(self.stream.end())

    def _send(self, text: str) -> None:
        if text or (self.is_finished and self._untold):
            self.item.send_token(text, self._untold)
            self._told += self._untold
            self._untold = []

    @property
    def result(self) -> JsonObject:
        """The answer, with the mean probability of its tokens as confidence."""
        usage = TokenUsage(self.prompt_tokens, len(self.tokens), self.reused_tokens)
        if self.choices:
            return Weighed(self.choices.probabilities, usage).as_json()
        return Reply(
            text=self.stream.text,
            confidence=mean_probability(self.logarithms),
            finish_reason=self.finish_reason or "length",
            usage=usage,
            logprobs=self._told if self.top_logprobs is not None else None,
        ).as_json()
