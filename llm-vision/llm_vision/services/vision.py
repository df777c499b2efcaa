"""Answers questions about pictures: the named model, or the embedded analysis where the choice is ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from ..errors import PromptTooLong
from ..images.raw import RawImage
from ..models.base import JsonObject, Task
from .analyze import MODEL_NAME, NOTICE, EmbeddedAnalysis, tasks_needed
from .inference import Inference, Permit
from .prompts import Question, understand

_SAMPLING: JsonObject = {"temperature": None, "top_p": None, "max_tokens": 512, "stop": [], "seed": None}


@dataclass(frozen=True)
class VisionAnswer:
    """What a picture shows, and who says so."""

    text: str
    confidence: float | None
    model_id: str
    notice: str | None


class Analyst(Protocol):
    """Whoever answers an admitted request."""

    async def analyze(self, picture: RawImage) -> VisionAnswer:
        """The answer about an RGB picture.

        Raises:
            VisionError: a model could not be loaded or did not answer.
        """


@dataclass(frozen=True)
class ModelAnalyst:
    """A vision-language model."""

    permit: Permit
    model_id: str
    prompt: str

    async def analyze(self, picture: RawImage) -> VisionAnswer:
        """See `Analyst`."""
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": self.prompt}]}
        params = {"messages": [turn], **_SAMPLING}
        result = await self.permit.run(self.model_id, [picture], params)
        value = result.value
        return VisionAnswer(value["text"], value["confidence"], self.model_id, result.device_notice)


@dataclass(frozen=True)
class EmbeddedAnalyst:
    """The embedded models, whose facts are composed into an answer."""

    permit: Permit
    question: Question
    ocr_model: str
    classifier_model: str

    async def analyze(self, picture: RawImage) -> VisionAnswer:
        """See `Analyst`."""
        analysis = EmbeddedAnalysis(self, ocr_model=self.ocr_model, classifier_model=self.classifier_model)
        found = await analysis.analyze(picture, self.question)
        return VisionAnswer(found.analysis, found.confidence, MODEL_NAME, NOTICE)

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


class VisionService:
    """Everything that answers prompts about pictures.

    Args:
        inference: the door to the models.
        ocr_model: id of the embedded model that reads text.
        classifier_model: id of the embedded model that names things.
        seconds: deadline of a request.
        max_prompt_chars: longest prompt.
    """

    def __init__(
        self, inference: Inference, *, ocr_model: str, classifier_model: str, seconds: float, max_prompt_chars: int
    ) -> None:
        self._inference = inference
        self._embedded = {Task.OCR: ocr_model, Task.CLASSIFY: classifier_model}
        self._seconds = seconds
        self._max_prompt_chars = max_prompt_chars

    @asynccontextmanager
    async def admit(self, model_id: str | None, prompt: str, client: str) -> AsyncIterator[Analyst]:
        """Admit a request before its picture is decoded.

        Raises:
            PromptTooLong, ModelNotFound, UnsupportedTask, QueueFull, RateLimited: the request is refused.
            DeadlineExceeded, ModelLoading: it took too long.
        """
        if len(prompt) > self._max_prompt_chars:
            raise PromptTooLong(f"{len(prompt)} characters; the limit is {self._max_prompt_chars}", param="prompt")
        if model_id is not None and model_id != MODEL_NAME:
            self._inference.spec(model_id, Task.CHAT)
            async with self._inference.admit([(model_id, Task.CHAT)], client, self._seconds) as permit:
                yield ModelAnalyst(permit, model_id, prompt)
            return
        question = understand(prompt)
        wanted = [(self._embedded[task], task) for task in sorted(tasks_needed(question.facts))]
        async with self._inference.admit(wanted, client, self._seconds) as permit:
            yield EmbeddedAnalyst(permit, question, self._embedded[Task.OCR], self._embedded[Task.CLASSIFY])
