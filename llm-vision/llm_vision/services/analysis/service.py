"""Answers questions about pictures: the named model, or where the choice is ours, what can answer now."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from ...errors import InsufficientMemory, ModelLoadFailed, PromptTooLong, UnsupportedTask, VisionError
from ...images.raw import RawImage
from ...models.base import JsonObject, Task
from ...runtime.work import Chunk, OnChunk
from ..inference import Inference, Permit
from ..model_care.availability import Availability
from ..model_care.default_vlm import DefaultVlm
from .embedded import MODEL_NAME, NOTICE, EmbeddedAnalysis, tasks_needed
from .prompts import Question, understand

log = logging.getLogger(__name__)

MOST_TURNS = 64


@dataclass(frozen=True)
class Turn:
    """What was said before."""

    role: str
    """`user`, `assistant` or `system`."""
    text: str


@dataclass(frozen=True)
class Sampling:
    """How the words of an answer are chosen."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int | None = None
    """How many alternatives are told of each token; None to tell nothing of tokens."""
    format: JsonObject | None = None
    """What the answer must look like: `{"type": "json_object"}` or `{"type": "json_schema", "schema": {...}}`."""

    @property
    def params(self) -> JsonObject:
        """As models are told."""
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop),
            "seed": self.seed,
            "logprobs": self.top_logprobs,
            "format": self.format,
        }


@dataclass(frozen=True)
class VisionWish:
    """What a client asks for."""

    model_id: str | None
    prompt: str
    may_fall_back: bool = True
    history: tuple[Turn, ...] = ()
    sampling: Sampling = Sampling()
    choices: tuple[str, ...] = ()
    """The answers among which to decide; none to answer freely."""

    @property
    def messages(self) -> list[JsonObject]:
        """History and question; the picture stands in the first question, where it was first asked about."""
        turns = [*self.history, Turn("user", self.prompt)]
        first = next(number for number, turn in enumerate(turns) if turn.role == "user")
        return [
            {
                "role": turn.role,
                "content": [*([{"type": "image"}] if number == first else []), {"type": "text", "text": turn.text}],
            }
            for number, turn in enumerate(turns)
        ]


@dataclass(frozen=True)
class VisionAnswer:
    """What a picture shows, and who says so."""

    text: str
    confidence: float | None
    model_id: str
    notice: str | None
    usage: JsonObject | None = None
    """Tokens of prompt and answer."""
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
    wish: VisionWish
    client: str

    async def analyze(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        """See `Analyst`."""
        try:
            return await self._answer(picture, on_chunk)
        except (ModelLoadFailed, InsufficientMemory) as error:
            if not self.service.may_replace(self.wish):
                raise
            log.warning("%s cannot answer now: %s", self.model_id, error.detail)
            async with self.service.admit_embedded(self.wish.prompt, error, self.client) as analyst:
                return await analyst.analyze(picture, on_chunk)

    async def _answer(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        params = {"messages": self.wish.messages, **self.wish.sampling.params}
        if self.wish.choices:
            params["choices"] = list(self.wish.choices)
        result = await self.permit.run(self.model_id, [picture], params, on_chunk)
        value = result.value
        if self.wish.choices:
            shares = value["probabilities"]
            best = max(shares, key=shares.__getitem__)
            on_chunk(Chunk(best))
            return VisionAnswer(best, shares[best], self.model_id, result.device_notice, value["usage"], shares)
        return VisionAnswer(value["text"], value["confidence"], self.model_id, result.device_notice, value.get("usage"))


@dataclass(frozen=True)
class EmbeddedAnalyst:
    """The embedded models, whose facts are composed into an answer."""

    permit: Permit
    question: Question
    ocr_model: str
    classifier_model: str
    reason: str | None = None
    """Why no vision-language model answers."""

    async def analyze(self, picture: RawImage, on_chunk: OnChunk) -> VisionAnswer:
        """See `Analyst`."""
        analysis = EmbeddedAnalysis(self, ocr_model=self.ocr_model, classifier_model=self.classifier_model)
        found = await analysis.analyze(picture, self.question)
        notice = f"{NOTICE} Now: {self.reason}." if self.reason else NOTICE
        on_chunk(Chunk(found.analysis))
        return VisionAnswer(found.analysis, found.confidence, MODEL_NAME, notice)

    async def run(
        self,
        model_id: str,
        task: Task,
        images: Sequence[RawImage],
        params: JsonObject,
        *,
        is_last_use: bool = False,
    ) -> JsonObject:
        """Run one of the embedded models: what `EmbeddedAnalysis` asks of the door."""
        return (await self.permit.run(model_id, images, params, is_last_use=is_last_use)).value


@dataclass(frozen=True)
class VisionLimits:
    """Deadline of a request in seconds, and its longest prompt."""

    seconds: float
    max_prompt_chars: int


class VisionService:
    """Everything that answers prompts about pictures.

    Args:
        inference: the door to the models.
        availability: whether a model's weights are there.
        default: which vision-language model answers when a request names none.
        embedded: the embedded models that read text and name things.
        limits: of a request.
    """

    def __init__(
        self,
        inference: Inference,
        availability: Availability,
        default: DefaultVlm,
        embedded: dict[Task, str],
        limits: VisionLimits,
    ) -> None:
        self._inference = inference
        self._availability = availability
        self._default = default
        self._embedded = embedded
        self._limits = limits

    @asynccontextmanager
    async def admit(self, wish: VisionWish, client: str) -> AsyncIterator[Analyst]:
        """Admit a request before its picture is decoded.

        Raises:
            PromptTooLong, ModelNotFound, UnsupportedTask, QueueFull, RateLimited: the request is refused.
            ModelLoading, ModelLoadFailed: the model that is named, or the only one that may answer, is not there.
            DeadlineExceeded: it took too long.
        """
        self._check_length(wish)
        if wish.model_id == MODEL_NAME:
            if wish.choices:
                raise UnsupportedTask(f"{MODEL_NAME} cannot decide; name a model that talks", param="model")
            async with self.admit_embedded(wish.prompt, None, client) as embedded:
                yield embedded
            return
        spec = self._inference.spec(wish.model_id or (await self._default.choose()).model_id, Task.CHAT)
        obstacle = self._availability.obstacle(spec)
        if obstacle is None:
            async with self._inference.admit([(spec.model_id, Task.CHAT)], client, self._limits.seconds) as permit:
                yield ModelAnalyst(self, permit, spec.model_id, wish, client)
        elif self.may_replace(wish):
            async with self.admit_embedded(wish.prompt, obstacle, client) as embedded:
                yield embedded
        else:
            raise obstacle

    def _check_length(self, wish: VisionWish) -> None:
        longest = self._limits.max_prompt_chars
        count = len(wish.prompt) + sum(len(turn.text) for turn in wish.history)
        if count > longest:
            raise PromptTooLong(f"{count} characters with the history; the limit is {longest}", param="prompt")
        if len(wish.history) > MOST_TURNS:
            raise PromptTooLong(f"{len(wish.history)} turns; the limit is {MOST_TURNS}", param="history")

    def may_replace(self, wish: VisionWish) -> bool:
        """Whether the embedded analysis may answer for a vision-language model."""
        return wish.model_id is None and wish.may_fall_back and not wish.choices

    @asynccontextmanager
    async def admit_embedded(
        self, prompt: str, reason: VisionError | None, client: str
    ) -> AsyncIterator[EmbeddedAnalyst]:
        """Admit a request to the embedded models; see `admit`."""
        question = understand(prompt)
        wanted = [(self._embedded[task], task) for task in sorted(tasks_needed(question.facts))]
        async with self._inference.admit(wanted, client, self._limits.seconds) as permit:
            yield EmbeddedAnalyst(
                permit,
                question,
                self._embedded[Task.OCR],
                self._embedded[Task.CLASSIFY],
                reason.detail if reason else None,
            )
