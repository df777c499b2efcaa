"""PP-OCRv6 through rapidocr: the embedded reader, whose weights come with its package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

from ....manga.furigana import Furigana, Ruby, pair_rubies, split_furigana
from ....manga.lines import TextLine, mean_confidence
from ....manga.ordering import sort_lines
from ....manga.text import is_stray, join_lines, to_japanese
from ...base import Item, JsonObject, LoadContext, Model, ModelSpec, Task
from ...loading.packages import package_files
from ...registry import register
from ...tasks.reading import CropText, PageText, ReadCrop, ReadLines, ReadPage, reading_from_json
from .languages import LANGUAGES

if TYPE_CHECKING:
    from .engine import Engine
    from .page import Page

Thing = TypeVar("Thing")
Found = TypeVar("Found")

MEBIBYTE = 1024 * 1024
MAX_SIDE_BY_SIDE = 4
"""Engines in one process; each costs about 100 MiB."""


@register
class RapidOcr(Model):
    """Reads crops and pages; lines in reading order, furigana left out unless they are asked for."""

    spec: ClassVar[ModelSpec] = ModelSpec(
        model_id="rapidocr",
        title="PP-OCRv6 small, detector and recogniser",
        tasks=frozenset({Task.OCR}),
        license="Apache-2.0",
        memory_bytes=800 * MEBIBYTE,
        max_batch=8,
        languages=LANGUAGES,
        embedded=True,
        weight_files=partial(package_files, "rapidocr", "models/*.onnx"),
    )

    def load(self, context: LoadContext) -> None:
        import opencc

        from .engine import Engine

        self._to_japanese_form = opencc.OpenCC("t2jp").convert
        self._engines = [Engine() for _ in range(min(context.threads, MAX_SIDE_BY_SIDE))]
        self._threads = ThreadPoolExecutor(len(self._engines))
        self._scales: WeakKeyDictionary[Item, float] = WeakKeyDictionary()
        for engine in self._engines:
            engine.warm_up()

    def predict(self, batch: Sequence[Item]) -> Sequence[JsonObject | Exception]:
        """Items run side by side, each on an engine of one thread, so that an answer does not depend on the others."""
        requests = [(item, reading_from_json(item.params)) for item in batch]
        crops = [(item, request) for item, request in requests if isinstance(request, ReadCrop)]
        pages = [(item, request) for item, request in requests if isinstance(request, ReadPage | ReadLines)]
        results = dict(zip((id(item) for item, _ in crops), self._each(self._read_crop, crops), strict=True))
        results |= zip((id(item) for item, _ in pages), self._read_pages(pages), strict=True)
        return [results[id(item)] for item in batch]

    def _each(self, work: Callable[[Engine, Thing], JsonObject | Found], things: Sequence[Thing]) -> list[Any]:
        """The result of some work for each thing, or what it raised, on as many engines as there are threads."""
        free: SimpleQueue[Engine] = SimpleQueue()
        for engine in self._engines[: self.threads]:
            free.put(engine)

        def run(thing: Thing) -> JsonObject | Found | Exception:
            engine = free.get()
            try:
                return work(engine, thing)
            except Exception as error:  # the others of the batch are not to blame
                return error
            finally:
                free.put(engine)

        return list(self._threads.map(run, things))

    def _read_crop(self, engine: Engine, asked: tuple[Item, ReadCrop]) -> JsonObject:
        item, request = asked
        scale = self._reduce(item)
        lines = engine.read(item.images[0], scale)
        if request.language == "ja":
            lines = [self._in_japanese(line) for line in lines if len(lines) == 1 or not is_stray(line.text)]
        if request.furigana is Furigana.KEEP:
            return crop_text(sort_lines(lines)).as_json()
        bases, furigana = split_furigana(lines)
        ordered = sort_lines(bases)
        rubies = tuple(pair_rubies(ordered, furigana)) if request.furigana is Furigana.RUBY else None
        return crop_text(ordered, rubies).as_json()

    def _read_pages(self, requests: Sequence[tuple[Item, ReadPage | ReadLines]]) -> list[JsonObject | Exception]:
        """First the lines of all pages are found, then all of them are read; a failure is that of its page alone."""
        from . import page as steps

        pages = [steps.page_of(item, request) for item, request in requests]
        parts = [(page, tile) for page in pages for tile in page.tiles]
        lines_of_parts = self._each(steps.find_lines, parts)
        for page in pages:
            page.take_lines([lines for (owner, _), lines in zip(parts, lines_of_parts, strict=True) if owner is page])
        places = [(page, number) for page in pages for number in page.lines_to_read]
        for (page, number), reading in zip(places, self._each(steps.read_line, places), strict=True):
            page.take_reading(number, reading)
        return [self._page_result(page) for page in pages]

    def _page_result(self, page: Page) -> JsonObject | Exception:
        if page.failure:
            return page.failure
        lines = page.lines
        if page.request.language == "ja":
            lines = [self._in_japanese(line) for line in lines]
        return PageText(tuple(lines), tuple(page.blocks_of(lines)), page.right_to_left).as_json()

    def _reduce(self, item: Item) -> float:
        """Put a reduced copy into the place of a huge picture, whose memory is then free for reading; the copy's scale.

        A request that is read once more, since memory ran out, has been reduced already.
        """
        from .engine import reduce_size

        small, scale = reduce_size(item.images[0])
        item.images = (small,)
        self._scales[item] = scale * self._scales.get(item, 1.0)
        return self._scales[item]

    def _in_japanese(self, line: TextLine) -> TextLine:
        text = to_japanese(line.text, self._to_japanese_form)
        return replace(line, text=text)


def crop_text(lines: Sequence[TextLine], rubies: tuple[Ruby, ...] | None = None) -> CropText:
    """Lines in reading order as one text."""
    return CropText(
        text=join_lines(line.text for line in lines),
        confidence=mean_confidence((line.text, line.confidence) for line in lines),
        lines=tuple(lines),
        rubies=rubies,
    )
