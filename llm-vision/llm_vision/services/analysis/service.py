"""Answers questions about pictures: the named model, or where the choice is ours, what can answer now."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ...errors import InsufficientMemory, ModelLoadFailed, PromptTooLong, UnsupportedTask, VisionError
from ...images.raw import RawImage
from ...models.base import Task
from ...models.tasks.chat import Converse, Decide, PicturePlace, TokenUsage
from ...models.tasks.chat import Sampling as Sampling
from ...models.tasks.chat import Turn as Turn
from ..answer_stream import AnswerStream
from ..inference import Chunk, Inference, OnChunk, Permit
from ..model_care.availability import Availability
from ..model_care.default_vlm import DefaultVlm
from ..pictures.sources import Pictures, Source
from .embedded import MODEL_NAME, EmbeddedAnalysis, tasks_for
from .prompts import Question, understand

log = logging.getLogger(__name__)

MOST_TURNS = 64


@dataclass(frozen=True)
class VisionRequest:
    """What a client asks for."""

    model_id: str | None
    prompt: str
    may_fall_back: bool = True
    may_download: bool = False
    """Whether the client may manage models: then naming one whose weights are missing brings them."""
    history: tuple[Turn, ...] = ()
    """What was said before."""
    sampling: Sampling = field(default_factory=Sampling)
    choices: tuple[str, ...] = ()
    """The answers among which to decide; none to answer freely."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """History and question; the picture stands in the first question, where it was first asked about."""
        turns = [*self.history, Turn("user", (self.prompt,))]
        first = next(number for number, turn in enumerate(turns) if turn.role == "user")
        turns[first] = Turn("user", (PicturePlace.HERE, *turns[first].parts))
        return tuple(turns)


@dataclass(frozen=True)
class VisionAnswer:
    """What a picture shows, and who says so."""

    text: str
    confidence: float | None
    model_id: str
    notice: str | None
    usage: TokenUsage | None = None
    probabilities: dict[str, float] | None = None
    """Of each choice, where there were some."""


class Analyst(Protocol):
    """Whoever answers an admitted request."""

    async def analyze(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        """The answer about an RGB picture; its chunks are handed on as they come.

        Raises:
            VisionError: a model could not be loaded or did not answer.
        """


@dataclass(frozen=True)
class ModelAnalyst:
    """A vision-language model; where the choice was ours, the embedded analysis when it cannot be loaded."""

    service: VisionService
    permit: Permit
    model_id: str
    request: VisionRequest
    client: str

    async def analyze(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        """See `Analyst`."""
        try:
            return await (self._decide if self.request.choices else self._converse)(picture, on_chunk)
        except (ModelLoadFailed, InsufficientMemory) as error:
            if not self.service.may_replace(self.request):
                raise
            log.warning("%s cannot answer now: %s", self.model_id, error.detail)
            async with self.service.admit_embedded(self.request.prompt, error, self.client) as analyst:
                return await analyst.analyze(picture, on_chunk)

    async def _converse(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        question = Converse(self.request.turns, self.request.sampling)
        outcome = await self.permit.run(self.model_id, [picture], question, on_chunk)
        reply = outcome.value
        self._count(outcome.device_notice)
        return VisionAnswer(reply.text, reply.confidence, self.model_id, outcome.device_notice, reply.usage)

    async def _decide(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        question = Decide(self.request.turns, self.request.choices)
        outcome = await self.permit.run(self.model_id, [picture], question)
        shares = outcome.value.probabilities
        self._count(outcome.device_notice)
        best = max(shares, key=shares.__getitem__)
        on_chunk(Chunk(best))
        return VisionAnswer(best, shares[best], self.model_id, outcome.device_notice, outcome.value.usage, shares)

    def _count(self, device_notice: str | None) -> None:
        if device_notice:
            self.permit.metrics.count_degraded(self.model_id)


@dataclass(frozen=True)
class EmbeddedAnalyst:
    """The embedded models, whose facts are composed into an answer."""

    permit: Permit
    analysis: EmbeddedAnalysis
    question: Question
    reason: str | None = None
    """Why no vision-language model answers."""

    async def analyze(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        """See `Analyst`."""
        answer = await self.analysis.analyze(picture, self.question)
        if self.reason:
            self.permit.metrics.count_degraded(answer.model)
        notice = f"{answer.notice} Now: {self.reason}." if self.reason else answer.notice
        on_chunk(Chunk(answer.analysis))
        return VisionAnswer(answer.analysis, answer.confidence, answer.model, notice)


@dataclass(frozen=True)
class VisionLimits:
    """Deadline of a request in seconds, and its longest prompt."""

    seconds: float
    max_prompt_chars: int


@dataclass(frozen=True)
class VisionModels:
    """Which models answer, and whether they are there."""

    availability: Availability
    default: DefaultVlm
    """The vision-language model that answers when a request names none."""
    embedded: Mapping[Task, str]
    """The embedded models that read text and name things."""


class VisionService:
    """Everything that answers prompts about pictures.

    Args:
        inference: the door to the models.
        models: which of them answer.
        pictures: fetches and decodes pictures.
        limits: of a request.
    """

    def __init__(self, inference: Inference, models: VisionModels, pictures: Pictures, limits: VisionLimits) -> None:
        self._inference = inference
        self._models = models
        self._pictures = pictures
        self._limits = limits

    def answer(self, request: VisionRequest, source: Source, client: str) -> AnswerStream[VisionAnswer]:
        """The answer about a picture; the picture is fetched and decoded once the request is admitted.

        The stream raises:
            PromptTooLong, ModelNotFound, UnsupportedTask, QueueFull, RateLimited: the request is refused.
            ModelLoading, ModelLoadFailed: the model that is named, or the only one that may answer, is not there.
            DeadlineExceeded: it took too long.
            VisionError: what is wrong with the picture, or why there is no answer.
        """

        async def make(on_chunk: OnChunk) -> VisionAnswer:
            async with (
                self._admit(request, client) as analyst,
                self._pictures.decoded(source, client) as picture,
            ):
                return await analyst.analyze(picture, on_chunk)

        return AnswerStream(make)

    @asynccontextmanager
    async def _admit(self, request: VisionRequest, client: str) -> AsyncIterator[Analyst]:
        """Admit a request before its picture is decoded."""
        self._check_length(request)
        if request.model_id == MODEL_NAME:
            if request.choices:
                raise UnsupportedTask(f"{MODEL_NAME} cannot decide; name a model that talks", param="model")
            async with self.admit_embedded(request.prompt, None, client) as embedded:
                yield embedded
            return
        model_id = request.model_id or (await self._models.default.choose()).model_id
        spec = self._inference.spec(model_id, Task.CHAT)
        obstacle = await self._models.availability.find_obstacle(spec, may_download=request.may_download)
        if obstacle is None:
            async with self._inference.admit([(spec.model_id, Task.CHAT)], client, self._limits.seconds) as permit:
                yield ModelAnalyst(self, permit, spec.model_id, request, client)
        elif self.may_replace(request):
            async with self.admit_embedded(request.prompt, obstacle, client) as embedded:
                yield embedded
        else:
            raise obstacle

    def _check_length(self, request: VisionRequest) -> None:
        longest = self._limits.max_prompt_chars
        count = len(request.prompt) + sum(turn.characters for turn in request.history)
        if count > longest:
            raise PromptTooLong(f"{count} characters with the history; the limit is {longest}", param="prompt")
        if len(request.history) > MOST_TURNS:
            raise PromptTooLong(f"{len(request.history)} turns; the limit is {MOST_TURNS}", param="history")

    def may_replace(self, request: VisionRequest) -> bool:
        """Whether the embedded analysis may answer for a vision-language model."""
        return request.model_id is None and request.may_fall_back and not request.choices

    @asynccontextmanager
    async def admit_embedded(
        self, prompt: str, reason: VisionError | None, client: str
    ) -> AsyncIterator[EmbeddedAnalyst]:
        """Admit a request to the embedded models that its prompt needs; see `answer`."""
        question = understand(prompt)
        embedded = self._models.embedded
        wanted = [(embedded[task], task) for task in sorted(tasks_for(question.facts))]
        async with self._inference.admit(wanted, client, self._limits.seconds) as permit:
            yield EmbeddedAnalyst(
                permit, EmbeddedAnalysis(permit, embedded), question, reason.detail if reason else None
            )
