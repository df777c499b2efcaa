"""Reads whole pages: lines are found, joined to blocks in reading order, and read by the engine that reads best."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from ...errors import InsufficientMemory, ModelLoadFailed
from ...images.crop import crop
from ...images.raw import RawImage
from ...manga.arbitration import choose, is_doubtful
from ...manga.blocks import Block
from ...manga.furigana import Furigana
from ...manga.lines import TextLine, mean_confidence
from ...manga.page import Alternative, ReadBlock, ReadingOrder, read_by_lines
from ...manga.splitting import count_characters, split_lines, spread
from ...manga.text import join_lines
from ...models.base import Task
from ...models.tasks.reading import TRUNCATED, CropText, PageText, ReadCrops, ReadLines, ReadPage
from ..inference import Inference, Outcome, Permit
from .crops import ChosenEngine, OcrRequest, OcrService

log = logging.getLogger(__name__)

CROP_MARGIN = 0.3
"""Free pixels around the crop of a block, in sizes of its characters: MangaOCR has learned from crops like that."""


@dataclass(frozen=True)
class PageRequest:
    """What a client asks for."""

    ocr: OcrRequest
    reading_order: ReadingOrder


@dataclass(frozen=True)
class PageReading:
    """What a page says."""

    width: int
    height: int
    blocks: tuple[ReadBlock, ...]
    engine: str
    language: str
    right_to_left: bool
    notice: str | None
    degraded: bool
    truncated: bool
    """Whether the page has more lines than were read."""

    @property
    def text(self) -> str:
        """One block a line."""
        return "\n".join(block.text for block in self.blocks)


class PageService:
    """Everything that reads pages.

    Args:
        inference: the door to the models.
        ocr: chooses the engine.
        detector: the embedded reader, which also finds the lines.
        seconds: deadline of a page.
    """

    def __init__(self, inference: Inference, ocr: OcrService, detector: str, seconds: float) -> None:
        self._inference = inference
        self._ocr = ocr
        self._detector = detector
        self._seconds = seconds

    @asynccontextmanager
    async def admit(self, request: PageRequest, client: str) -> AsyncIterator[PageReader]:
        """Admit a page before it is decoded.

        Raises:
            VisionError: as `OcrService.admit`.
        """
        chosen = await self._ocr.choose(request.ocr)
        models = dict.fromkeys((self._detector, chosen.engine))
        async with self._inference.admit([(model, Task.OCR) for model in models], client, self._seconds) as permit:
            yield PageReader(permit, chosen, request.reading_order, self._detector)


@dataclass(frozen=True)
class PageReader:
    """An admitted page."""

    permit: Permit
    chosen: ChosenEngine
    reading_order: ReadingOrder
    detector: str

    async def read(self, picture: RawImage) -> PageReading:
        """What a page says; where the choice was ours, by the embedded reader when ours cannot be loaded.

        Raises:
            VisionError: a model could not be loaded or did not answer.
        """
        chosen = self.chosen
        if chosen.engine == self.detector:
            return await self._read_embedded(picture, chosen)
        try:
            return await self._read_by_crops(picture)
        except (ModelLoadFailed, InsufficientMemory) as error:
            if chosen.fallback is None:
                raise
            notice = f"{chosen.engine} is unavailable ({error.code}); {chosen.fallback} read the image instead."
            log.warning(notice)
            return await self._read_embedded(picture, replace(chosen, engine=self.detector, notice=notice))

    async def _read_embedded(self, picture: RawImage, chosen: ChosenEngine) -> PageReading:
        outcome = await self._find_text(picture, reads_lines=True)
        page, furigana = outcome.value, chosen.crop.furigana
        blocks = [read_by_lines(block, self.detector, furigana=furigana) for block in page.blocks]
        return self._make_reading(picture, page, blocks, chosen, outcome.device_notice)

    async def _find_text(self, picture: RawImage, *, reads_lines: bool) -> Outcome[PageText]:
        crop = self.chosen.crop
        request = ReadPage(crop.language, crop.furigana, self.reading_order, reads_lines)
        return await self.permit.run(self.detector, [picture], request)

    async def _read_by_crops(self, picture: RawImage) -> PageReading:
        """The chosen engine reads blocks; of those that it doubts, the embedded reader reads the lines, too."""
        chosen, crop = self.chosen, self.chosen.crop
        wants_lines = crop.furigana is not Furigana.STRIP
        page = (await self._find_text(picture, reads_lines=wants_lines)).value
        if not page.blocks:
            return self._make_reading(picture, page, [], chosen, None)
        parts = [(block, part) for block in page.blocks for part in split_lines(block.lines)]
        crops = await asyncio.to_thread(_cut_crops, picture, parts)
        request = ReadCrops(crop.language, crop.furigana)
        outcome = await self.permit.run(chosen.engine, crops, request, is_last_use=True)
        readings = list(zip(parts, outcome.value.readings, strict=True))
        blocks = [
            _join_readings(block, [reading for (owner, _), reading in readings if owner is block], chosen)
            for block in page.blocks
        ]
        blocks = await self._add_second_opinions(picture, blocks, were_read=wants_lines)
        return self._make_reading(
            picture, page, [block for block in blocks if block.text], chosen, outcome.device_notice
        )

    async def _add_second_opinions(
        self, picture: RawImage, blocks: Sequence[ReadBlock], *, were_read: bool
    ) -> list[ReadBlock]:
        doubtful = [block for block in blocks if is_doubtful(block.engine, block.confidence)]
        lines = tuple(line for block in doubtful for line in block.block.lines)
        if not lines:
            return list(blocks)
        if not were_read:
            request = ReadLines(self.chosen.crop.language, lines, self.chosen.crop.furigana)
            lines = (await self.permit.run(self.detector, [picture], request)).value.lines
        texts = iter(lines)
        second = {}
        for block in doubtful:
            own = Block(tuple(next(texts) for _ in block.block.lines), block.block.vertical)
            second[id(block)] = read_by_lines(own, self.detector, furigana=Furigana.STRIP)
        return [_choose_better(block, second[id(block)]) if id(block) in second else block for block in blocks]

    def _make_reading(
        self,
        picture: RawImage,
        page: PageText,
        blocks: Sequence[ReadBlock],
        chosen: ChosenEngine,
        device_notice: str | None,
    ) -> PageReading:
        instead = " ".join(filter(None, [chosen.notice, device_notice]))
        if instead:
            self.permit.metrics.count_degraded(chosen.engine)
        return PageReading(
            width=picture.width,
            height=picture.height,
            blocks=tuple(blocks),
            engine=chosen.engine,
            language=chosen.crop.language,
            right_to_left=page.right_to_left,
            notice=" ".join(filter(None, [instead, TRUNCATED if page.truncated else None])) or None,
            degraded=bool(instead),
            truncated=page.truncated,
        )


def _cut_crops(picture: RawImage, parts: Sequence[tuple[Block, Sequence[TextLine]]]) -> list[RawImage]:
    return [
        crop(picture, Block(tuple(lines), block.vertical).box, CROP_MARGIN * block.font_size) for block, lines in parts
    ]


def _join_readings(block: Block, readings: Sequence[CropText], chosen: ChosenEngine) -> ReadBlock:
    """The readings of a block's parts as one."""
    text = join_lines(reading.text for reading in readings)
    return ReadBlock(
        block=block,
        text=text,
        confidence=mean_confidence((reading.text, reading.confidence) for reading in readings),
        engine=chosen.engine,
        line_texts=tuple(spread(text, [count_characters(line) for line in block.lines])),
        rubies=tuple(block.rubies) if chosen.crop.furigana is Furigana.RUBY else None,
    )


def _choose_better(first: ReadBlock, second: ReadBlock) -> ReadBlock:
    """The reading that is more probably right; the other one beside it."""
    better, worse = (first, second) if choose(first, second) is first else (second, first)
    if not worse.text or worse.text == better.text:
        return replace(better, rubies=first.rubies)
    alternative = Alternative(worse.text, worse.confidence, worse.engine)
    return replace(better, alternatives=(alternative,), rubies=first.rubies)
