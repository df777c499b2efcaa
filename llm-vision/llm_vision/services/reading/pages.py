"""Reads whole pages: lines are found, joined to blocks in reading order, and read by the engine that reads best."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from ...errors import InsufficientMemory, ModelLoadFailed
from ...images.crop import cropped
from ...images.raw import RawImage
from ...manga.arbitration import choose, is_doubtful
from ...manga.blocks import Block
from ...manga.lines import TextLine, mean_confidence
from ...manga.page import Alternative, ReadBlock, read_by_lines
from ...manga.splitting import characters, parts_of, spread
from ...manga.text import join_lines
from ...models.base import JsonObject, Task
from ..inference import Inference, Permit
from .crops import Choice, OcrService, OcrWish

log = logging.getLogger(__name__)

CROP_MARGIN = 0.3
"""Free pixels around the crop of a block, in sizes of its characters: MangaOCR has learned from crops like that."""


@dataclass(frozen=True)
class PageWish:
    """What a client asks for."""

    ocr: OcrWish
    reading_order: str
    """`rtl`, `ltr` or `auto`."""


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

    @property
    def text(self) -> str:
        """One block a line."""
        return "\n".join(block.text for block in self.blocks)


@dataclass(frozen=True)
class _Found:
    """Where text is on a page."""

    blocks: list[Block]
    right_to_left: bool


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
    async def admit(self, wish: PageWish, client: str) -> AsyncIterator[PageReader]:
        """Admit a page before it is decoded.

        Raises:
            VisionError: as `OcrService.admit`.
        """
        choice = self._ocr.choose(wish.ocr)
        models = dict.fromkeys((self._detector, choice.engine))
        async with self._inference.admit([(model, Task.OCR) for model in models], client, self._seconds) as permit:
            yield PageReader(permit, choice, wish, self._detector)


@dataclass(frozen=True)
class PageReader:
    """An admitted page."""

    permit: Permit
    choice: Choice
    wish: PageWish
    detector: str

    async def read(self, picture: RawImage) -> PageReading:
        """What a page says; where the choice was ours, by the embedded reader when ours cannot be loaded.

        Raises:
            VisionError: a model could not be loaded or did not answer.
        """
        if self.choice.engine == self.detector:
            return await self._read_embedded(picture, self.choice)
        try:
            return await self._read_by_crops(picture)
        except (ModelLoadFailed, InsufficientMemory) as error:
            if self.choice.fallback is None:
                raise
            notice = f"{self.choice.engine} cannot read now ({error.code}); {self.choice.fallback} has read instead."
            log.warning(notice)
            return await self._read_embedded(picture, replace(self.choice, engine=self.detector, notice=notice))

    async def _read_embedded(self, picture: RawImage, choice: Choice) -> PageReading:
        found, device_notice = await self._find(picture, choice, read=True)
        blocks = [read_by_lines(block, self.detector, furigana=choice.furigana) for block in found.blocks]
        return self._reading(picture, found, blocks, choice, device_notice)

    async def _find(self, picture: RawImage, choice: Choice, *, read: bool) -> tuple[_Found, str | None]:
        params = {**_params(choice), "mode": "page", "reading_order": self.wish.reading_order, "read": read}
        result = await self.permit.run(self.detector, [picture], params)
        return _Found(blocks_in(result.value), result.value["right_to_left"]), result.device_notice

    async def _read_by_crops(self, picture: RawImage) -> PageReading:
        """The chosen engine reads blocks; of those that it doubts, the embedded reader reads the lines, too."""
        choice = self.choice
        wants_lines = choice.furigana != "strip"
        found, _ = await self._find(picture, choice, read=wants_lines)
        if not found.blocks:
            return self._reading(picture, found, [], choice, None)
        parts = [(block, part) for block in found.blocks for part in parts_of(block.lines)]
        crops = await asyncio.to_thread(_crops_of, picture, parts)
        result = await self.permit.run(choice.engine, crops, {**_params(choice), "mode": "crops"}, is_last_use=True)
        readings = result.value["readings"]
        blocks = [
            _joined(
                block, [reading for (owner, _), reading in zip(parts, readings, strict=True) if owner is block], choice
            )
            for block in found.blocks
        ]
        blocks = await self._with_second_opinions(picture, blocks, were_read=wants_lines)
        return self._reading(picture, found, [block for block in blocks if block.text], choice, result.device_notice)

    async def _with_second_opinions(
        self, picture: RawImage, blocks: Sequence[ReadBlock], *, were_read: bool
    ) -> list[ReadBlock]:
        doubtful = [block for block in blocks if is_doubtful(block.engine, block.confidence)]
        lines = [line for block in doubtful for line in block.block.lines]
        if not lines:
            return list(blocks)
        if not were_read:
            params = {**_params(self.choice), "mode": "lines", "vertical": [line.vertical for line in lines]}
            params["lines"] = [line.polygon for line in lines]
            result = await self.permit.run(self.detector, [picture], params)
            lines = [_line(entry) for entry in result.value["lines"]]
        texts = iter(lines)
        second = {}
        for block in doubtful:
            own = Block(tuple(next(texts) for _ in block.block.lines), block.block.vertical)
            second[id(block)] = read_by_lines(own, self.detector, furigana="strip")
        return [_chosen(block, second[id(block)]) if id(block) in second else block for block in blocks]

    def _reading(
        self, picture: RawImage, found: _Found, blocks: Sequence[ReadBlock], choice: Choice, device_notice: str | None
    ) -> PageReading:
        instead = " ".join(filter(None, [choice.notice, device_notice]))
        return PageReading(
            width=picture.width,
            height=picture.height,
            blocks=tuple(blocks),
            engine=choice.engine,
            language=choice.language,
            right_to_left=found.right_to_left,
            notice=instead or None,
            degraded=bool(instead),
        )


def _params(choice: Choice) -> JsonObject:
    return {"language": choice.language, "furigana": choice.furigana}


def blocks_in(result: JsonObject) -> list[Block]:
    """The blocks of a page, as the embedded reader tells them, in reading order."""
    lines = [_line(entry) for entry in result["lines"]]
    return [
        Block(
            tuple(lines[number] for number in entry["lines"]),
            entry["vertical"],
            tuple(lines[number] for number in entry["furigana"]),
        )
        for entry in result["blocks"]
    ]


def _line(entry: JsonObject) -> TextLine:
    first, second, third, fourth = ((x, y) for x, y in entry["polygon"])
    ink = entry.get("ink")
    return TextLine(
        (first, second, third, fourth),
        entry["text"],
        entry["confidence"],
        entry["vertical"],
        tuple(ink) if ink else None,
    )


def _crops_of(picture: RawImage, parts: Sequence[tuple[Block, Sequence[TextLine]]]) -> list[RawImage]:
    return [
        cropped(picture, Block(tuple(lines), block.vertical).box, CROP_MARGIN * block.font_size)
        for block, lines in parts
    ]


def _joined(block: Block, readings: Sequence[JsonObject], choice: Choice) -> ReadBlock:
    """The readings of a block's parts as one."""
    text = join_lines(reading["text"] for reading in readings)
    return ReadBlock(
        block=block,
        text=text,
        confidence=mean_confidence((reading["text"], reading["confidence"]) for reading in readings),
        engine=choice.engine,
        line_texts=tuple(spread(text, [characters(line) for line in block.lines])),
        rubies=tuple(block.rubies) if choice.furigana == "ruby" else None,
    )


def _chosen(first: ReadBlock, second: ReadBlock) -> ReadBlock:
    """The reading that is more probably right; the other one beside it."""
    better, worse = (first, second) if choose(first, second) is first else (second, first)
    if not worse.text or worse.text == better.text:
        return replace(better, rubies=first.rubies)
    alternative = Alternative(worse.text, worse.confidence, worse.engine)
    return replace(better, alternatives=(alternative,), rubies=first.rubies)
