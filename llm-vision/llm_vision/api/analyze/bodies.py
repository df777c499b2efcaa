"""Bodies of /analyze_image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..shared.confidence import Confidence
from ..shared.fallback import Fallback

DEFAULT_PROMPT = "What's in this image?"
DEFAULT_TOKENS, MOST_TOKENS = 512, 4096
MOST_CHOICES = 32
LONGEST_HISTORY = 256
"""Turns that are looked at; what is answered has fewer."""


class Turn(BaseModel):
    """What was said before about the picture."""

    role: Literal["user", "assistant", "system"]
    content: str


_Turns = Annotated[list[Turn], Field(max_length=LONGEST_HISTORY, fail_fast=True)]


class AnalyzeChoices(BaseModel):
    """The field of that name, where it came as a text."""

    choices: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(min_length=2, max_length=MOST_CHOICES)


class History(BaseModel):
    """The field of that name, where it came as a text."""

    history: _Turns


class AnalyzeForm(BaseModel):
    """The fields beside the picture."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    repeatable: ClassVar[tuple[str, ...]] = ("choices",)

    prompt: str = DEFAULT_PROMPT
    """A question about the picture."""
    model: str | None = Field(None, max_length=256)
    """Model id that shall answer; the service chooses when it is left out."""
    history: _Turns | str | None = None
    """Earlier turns, as JSON: `[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]`."""
    temperature: float | None = Field(None, ge=0, le=1)
    """0 for the most probable answer, which is the default; higher for more varied ones."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Only tokens that together have this probability are drawn; where a temperature is set."""
    max_tokens: int = Field(DEFAULT_TOKENS, ge=1, le=MOST_TOKENS)
    """Longest answer."""
    stream: bool = False
    """Server-sent events: `delta` with a piece of the answer in `text`, then `answer` with the whole, or `error`."""
    choices: Annotated[list[str], Field(max_length=MOST_CHOICES, fail_fast=True)] | str | None = None
    """The only answers, 2 to 32 of them: `yes,no`, or as JSON `["yes", "no"]`, or one in each of several fields;
    `decision` tells how probable each is."""
    url: str | None = Field(None, max_length=4096)
    """Address of the picture in place of a file; off until `VISION_URL_HOSTS` allows hosts."""
    fallback: Fallback = Fallback.AUTO
    """`never`: an error rather than an answer of another model than the one that would have been chosen."""


class Usage(BaseModel):
    """Tokens of a generated answer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt_tokens: int, completion_tokens: int) -> Usage:
        """With their sum."""
        return cls(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
        )


class AnalyzeChoice(BaseModel):
    """A possible answer."""

    choice: str
    probability: float = Field(ge=0, le=1)


class Decision(BaseModel):
    """How probable the model finds each of the choices; together they have 1."""

    choice: str
    probabilities: list[AnalyzeChoice]


class AnalyzeDelta(BaseModel):
    """An event of a streamed answer."""

    text: str


class AnalyzeAnswer(BaseModel):
    """What the picture shows."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    analysis: str
    """The answer."""
    confidence: Confidence | None
    """0..1 for the main claim; null when there is none to be sure of."""
    model: str
    """Id of the model that answered."""
    usage: Usage | None
    """Tokens, where the model counts in tokens."""
    decision: Decision | None = None
    """With `choices`: what was decided."""
    degraded: bool
    """Whether something less than a vision-language model answered; `notice` says what."""
    notice: str | None
    """For people: what to know about this answer."""
