"""PP-OCRv6 through rapidocr: the embedded reader, whose weights come with its package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from ....manga.furigana import Furigana, Ruby, pair_rubies, split_furigana
from ....manga.lines import TextLine, mean_confidence
from ....manga.ordering import sort_lines
from ....manga.page import form_blocks
from ....manga.text import is_stray, join_lines, to_japanese
from ...base import Item, JsonObject, LoadContext, ModelSpec, Task
from ...loading.packages import package_files
from ...parts import ModelInParts, Steps
from ...registry import register
from ...tasks.reading import CropText, PageText, ReadCrop, ReadLines, ReadPage, reading_from_json
from .languages import LANGUAGES

if TYPE_CHECKING:
    from .engine import Pixels
    from .page import PageLines

MEBIBYTE = 1024 * 1024
MAX_SIDE_BY_SIDE = 4
"""Engines that have a core each; an engine costs about 100 MiB."""
MAX_LINES = 1000
"""Of a picture, where nothing else is said: a dense page of a newspaper has less, more are noise."""
MAX_LINES_OPTION = "max_lines"
"""Its name in the options of the catalogue entry."""


@register
class RapidOcr(ModelInParts):
    """Reads crops and pages; lines in reading order, furigana left out unless they are asked for."""

    spec: ClassVar[ModelSpec] = ModelSpec(
        model_id="rapidocr",
        title="PP-OCRv6 small, detector and recogniser",
        tasks=frozenset({Task.OCR}),
        license="Apache-2.0",
        memory_bytes=900 * MEBIBYTE,
        max_batch=16,
        places_for_others=8,
        languages=LANGUAGES,
        embedded=True,
        weight_files=partial(package_files, "rapidocr", "models/*.onnx"),
        is_stepped=True,
        longest_step=30,  # a large page is looked for lines in 3 s of a core, which others may want, too
    )

    def load(self, context: LoadContext) -> None:
        import opencc

        from .engine import Engine
        from .side_by_side import SPARE, Engines

        self._to_japanese_form = opencc.OpenCC("t2jp").convert
        self._max_lines = context.options.get(MAX_LINES_OPTION, MAX_LINES)
        side_by_side = min(context.threads, MAX_SIDE_BY_SIDE)
        self._engines = Engines([Engine(self._max_lines) for _ in range(side_by_side + SPARE)])
        self._engines.warm_up()

    def step(self) -> Sequence[tuple[Item, JsonObject | Exception]]:
        """Parts run side by side, each on an engine of one thread, so that an answer does not depend on the others."""
        self._engines.work_on(self._requests, self.threads)
        return self._requests.take_ended()

    def steps_of(self, item: Item) -> Steps:
        return self._read(item.params, list(item.images))

    def _read(self, params: JsonObject, pictures: list[Pixels]) -> Steps:
        from . import crop, page

        request = reading_from_json(params)
        match request:
            case ReadCrop():
                found = yield from crop.find_and_read(pictures, self._max_lines)
                return self._as_crop_text(request, *found).as_json()
            case ReadPage():
                lines = yield from page.find_and_read(pictures[0], request, self._max_lines)
            case ReadLines():
                lines = yield from page.read_named_lines(pictures[0], request)
            case _:
                raise ValueError("rapidocr reads one picture at a time")
        if request.language == "ja":
            lines = replace(lines, lines=tuple(map(self._in_japanese, lines.lines)))
        (result,) = yield [lambda _: as_page_text(request, lines).as_json()]
        return cast("JsonObject", result)

    def _as_crop_text(self, request: ReadCrop, lines: list[TextLine], is_truncated: bool) -> CropText:
        if request.language == "ja":
            lines = [self._in_japanese(line) for line in lines if len(lines) == 1 or not is_stray(line.text)]
        if request.furigana is Furigana.KEEP:
            return crop_text(sort_lines(lines), truncated=is_truncated)
        bases, furigana = split_furigana(lines)
        bubbles = split_bubbles(bases)
        ordered = [line for bubble in bubbles for line in bubble]
        rubies = tuple(pair_rubies(ordered, furigana)) if request.furigana is Furigana.RUBY else None
        text = "\n".join(join_lines(line.text for line in bubble) for bubble in bubbles)
        return replace(crop_text(ordered, rubies, truncated=is_truncated), text=text)

    def _in_japanese(self, line: TextLine) -> TextLine:
        text = to_japanese(line.text, self._to_japanese_form)
        return replace(line, text=text)


def split_bubbles(lines: Sequence[TextLine]) -> list[Sequence[TextLine]]:
    """The lines of a crop by bubble, all in reading order: of one, or of each where a page was sent as a crop."""
    right_to_left = 2 * sum(line.vertical for line in lines) >= len(lines)
    blocks = form_blocks(lines, (), right_to_left=right_to_left, were_read=False)
    if len(blocks) < 2 or sum(len(block.lines) for block in blocks) < len(lines):
        return [sort_lines(lines)]
    return [block.lines for block in blocks]


def crop_text(
    lines: Sequence[TextLine], rubies: tuple[Ruby, ...] | None = None, *, truncated: bool = False
) -> CropText:
    """Lines in reading order as one text."""
    return CropText(
        text=join_lines(line.text for line in lines),
        confidence=mean_confidence((line.text, line.confidence) for line in lines),
        lines=tuple(lines),
        rubies=rubies,
        truncated=truncated,
    )


def as_page_text(request: ReadPage | ReadLines, found: PageLines) -> PageText:
    """The lines of a page, and its blocks in reading order; none where the request named the lines."""
    if isinstance(request, ReadLines):
        return PageText(found.lines)
    blocks = form_blocks(found.lines, found.panels, right_to_left=found.right_to_left, were_read=request.reads_lines)
    return PageText(found.lines, tuple(blocks), found.right_to_left, found.is_truncated)
