"""Answers about a picture without a vision-language model: runs only what the prompt needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import VisionError
from ...images.raw import RawImage, reduce_picture, to_pillow
from ...manga.lines import TextLine
from ...models.base import Task
from ...models.tasks.naming import Classify, Label
from ...models.tasks.reading import TRUNCATED, CropText, ReadCrop
from ..inference import Permit
from .answers import SURE_TEXT, PictureFacts, compose_answer
from .colors import NamedColor, find_main_colors
from .kind import PictureKind, recognize_kind
from .prompts import Fact, Question

MODEL_NAME = "embedded-analysis"
NOTICE = (
    "This answer was composed from measurements, without a vision-language model. LLAVA_MODEL_ID chooses one, and its "
    "weights lie on the data/llava_models volume: docs/models.md says how."
)
READ_TEXT = ReadCrop("ja")
"""The embedded reader reads Latin scripts in the same go as Japanese."""


@dataclass(frozen=True)
class Analysis:
    analysis: str
    confidence: float | None
    model: str = MODEL_NAME
    degraded: bool = True
    notice: str | None = NOTICE


def tasks_for(facts: frozenset[Fact]) -> frozenset[Task]:
    """What models must do for the facts: a kind shows in the picture's text and its likeliest things, too."""
    tasks = {Task.OCR: {Fact.TEXT, Fact.KIND}, Task.CLASSIFY: {Fact.THINGS, Fact.KIND}}
    return frozenset(task for task, needed_for in tasks.items() if needed_for & facts)


class EmbeddedAnalysis:
    """Answers questions with the embedded models.

    Args:
        permit: runs the models.
        models: the ids of those that read text and name things.
    """

    def __init__(self, permit: Permit, models: Mapping[Task, str]) -> None:
        self._permit = permit
        self._models = models

    async def analyze(self, picture: RawImage, question: Question) -> Analysis:
        """The answer to a question about an RGB picture.

        Raises:
            VisionError: a model that the answer needs failed.
        """
        facts = question.facts
        tasks = tasks_for(facts)
        small = await asyncio.to_thread(reduce_picture, picture)
        only_to_read = small is not picture
        try:
            async with asyncio.TaskGroup() as group:  # when one fails, the others end too
                reading = group.create_task(self._read(picture, wanted=Task.OCR in tasks, is_last_use=only_to_read))
                naming = group.create_task(self._classify(small, wanted=Task.CLASSIFY in tasks))
                coloring = group.create_task(_find_colors(small, wanted=Fact.COLORS in facts))
        except* VisionError as failures:
            raise failures.exceptions[0] from None
        text, labels, colors = reading.result(), naming.result(), coloring.result()
        evidence = (_keep_sure_lines(text), {label.name: label.confidence for label in labels})
        known = PictureFacts(
            width=picture.width,
            height=picture.height,
            kind=await _find_kind(small, (picture.width, picture.height), *evidence) if Fact.KIND in facts else None,
            labels=labels,
            colors=colors,
            text=text.text,
            text_confidence=text.confidence,
        )
        answer = compose_answer(question, known)
        return Analysis(
            answer.analysis, answer.confidence, notice=f"{NOTICE} {TRUNCATED}" if text.truncated else NOTICE
        )

    async def _read(self, picture: RawImage, *, wanted: bool, is_last_use: bool) -> CropText:
        if not wanted:
            return CropText("")
        outcome = await self._permit.run(self._models[Task.OCR], [picture], READ_TEXT, is_last_use=is_last_use)
        return outcome.value

    async def _classify(self, picture: RawImage, *, wanted: bool) -> tuple[Label, ...]:
        if not wanted:
            return ()
        return (await self._permit.run(self._models[Task.CLASSIFY], [picture], Classify())).value.labels


async def _find_colors(picture: RawImage, *, wanted: bool) -> list[NamedColor]:
    if not wanted:
        return []
    return await asyncio.to_thread(lambda: find_main_colors(to_pillow(picture)))


async def _find_kind(
    small: RawImage, size: tuple[int, int], lines: Sequence[TextLine], labels: Mapping[str, float]
) -> PictureKind:
    return await asyncio.to_thread(lambda: recognize_kind(to_pillow(small), lines, labels, size))


def _keep_sure_lines(text: CropText) -> list[TextLine]:
    """The lines that were read for sure; photos have a few doubtful ones."""
    return [line for line in text.lines if line.confidence >= SURE_TEXT]
