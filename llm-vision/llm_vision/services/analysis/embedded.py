"""Answers about a picture without a vision-language model: runs only what the prompt needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import VisionError
from ...images.raw import RawImage, reduced, to_pillow
from ...models.base import Task
from .answers import SURE_TEXT, Label, PictureFacts, compose_answer
from .colors import NamedColor, main_colors
from .kind import PictureKind, TextLine, picture_kind
from .prompts import Fact, Question

MODEL_NAME = "embedded-analysis"
NOTICE = (
    "This answer is made of measured facts, without a vision-language model. LLAVA_MODEL_ID chooses one, and its "
    "weights lie on the data/llava_models volume: docs/models.md says how."
)
OCR_PARAMS = {"language": "ja", "furigana": "strip"}
"""The embedded reader reads Latin scripts in the same go as Japanese."""


class Inference(Protocol):
    """The one door to the models, as far as it is needed here."""

    async def run(
        self,
        model_id: str,
        task: Task,
        images: Sequence[RawImage],
        params: dict[str, Any],
        *,
        is_last_use: bool = False,
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Analysis:
    analysis: str
    confidence: float | None
    model: str = MODEL_NAME
    degraded: bool = True
    notice: str | None = NOTICE


def tasks_needed(facts: frozenset[Fact]) -> frozenset[Task]:
    """What models must do for the facts: a kind shows in the picture's text and its likeliest things, too."""
    tasks = {Task.OCR: {Fact.TEXT, Fact.KIND}, Task.CLASSIFY: {Fact.THINGS, Fact.KIND}}
    return frozenset(task for task, needed_for in tasks.items() if needed_for & facts)


class EmbeddedAnalysis:
    """Answers questions with the embedded models.

    Args:
        inference: runs the models.
        ocr_model: the id of the model that reads text.
        classifier_model: the id of the model that names things.
    """

    def __init__(self, inference: Inference, *, ocr_model: str, classifier_model: str) -> None:
        self._inference = inference
        self._ocr_model = ocr_model
        self._classifier_model = classifier_model

    async def analyze(self, picture: RawImage, question: Question) -> Analysis:
        """The answer to a question about an RGB picture.

        Raises:
            VisionError: a model that the answer needs failed.
        """
        facts = question.facts
        tasks = tasks_needed(facts)
        small = await asyncio.to_thread(reduced, picture)
        only_to_read = small is not picture
        try:
            async with asyncio.TaskGroup() as group:  # when one fails, the others end too
                reading = group.create_task(self._read(picture, wanted=Task.OCR in tasks, is_last_use=only_to_read))
                naming = group.create_task(self._classify(small, wanted=Task.CLASSIFY in tasks))
                coloring = group.create_task(_find_colors(small, wanted=Fact.COLORS in facts))
        except* VisionError as failures:
            raise failures.exceptions[0] from None
        text, labels, colors = reading.result(), naming.result(), coloring.result()
        evidence = (_sure_lines(text), {label.name: label.confidence for label in labels})
        found = PictureFacts(
            width=picture.width,
            height=picture.height,
            kind=await _find_kind(small, (picture.width, picture.height), *evidence) if Fact.KIND in facts else None,
            labels=labels,
            colors=colors,
            text=text["text"],
            text_confidence=text["confidence"],
        )
        answer = compose_answer(question, found)
        return Analysis(answer.analysis, answer.confidence)

    async def _read(self, picture: RawImage, *, wanted: bool, is_last_use: bool) -> dict[str, Any]:
        if not wanted:
            return {"text": "", "confidence": None, "lines": []}
        return await self._inference.run(self._ocr_model, Task.OCR, [picture], OCR_PARAMS, is_last_use=is_last_use)

    async def _classify(self, picture: RawImage, *, wanted: bool) -> list[Label]:
        if not wanted:
            return []
        result = await self._inference.run(self._classifier_model, Task.CLASSIFY, [picture], {})
        return [Label(found["label"], found["confidence"]) for found in result["labels"]]


async def _find_colors(picture: RawImage, *, wanted: bool) -> list[NamedColor]:
    if not wanted:
        return []
    return await asyncio.to_thread(lambda: main_colors(to_pillow(picture)))


async def _find_kind(
    small: RawImage, size: tuple[int, int], lines: Sequence[TextLine], labels: Mapping[str, float]
) -> PictureKind:
    return await asyncio.to_thread(lambda: picture_kind(to_pillow(small), lines, labels, size))


def _sure_lines(text: dict[str, Any]) -> list[TextLine]:
    """The lines that were read for sure; photos have a few doubtful ones."""
    return [
        TextLine([(x, y) for x, y in line["polygon"]], line["vertical"])
        for line in text["lines"]
        if line["confidence"] is None or line["confidence"] >= SURE_TEXT
    ]
