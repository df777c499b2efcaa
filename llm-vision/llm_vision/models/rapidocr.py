"""PP-OCRv6 through rapidocr: the embedded reader, whose weights come with its package."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, ClassVar

from ..manga.furigana import split_furigana
from ..manga.lines import TextLine
from ..manga.ordering import reading_order
from ..manga.text import is_stray, japanese_text, join_lines
from ._packages import package_files
from ._rapidocr_languages import LANGUAGES
from .base import Item, JsonObject, LoadContext, Model, ModelSpec, Task
from .registry import register

if TYPE_CHECKING:
    from ._rapidocr_engine import Engine

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
        memory_bytes=500 * MEBIBYTE,
        max_batch=8,
        languages=LANGUAGES,
        embedded=True,
        weight_files=partial(package_files, "rapidocr", "models/*.onnx"),
    )

    def load(self, context: LoadContext) -> None:
        import opencc

        from ._rapidocr_engine import Engine

        self._to_japanese_form = opencc.OpenCC("t2jp").convert
        self._engines = [Engine() for _ in range(min(context.threads, MAX_SIDE_BY_SIDE))]
        self._threads = ThreadPoolExecutor(len(self._engines))
        for engine in self._engines:
            engine.warm_up()

    def predict(self, batch: Sequence[Item]) -> Sequence[JsonObject | Exception]:
        """Items run side by side, each on an engine of one thread, so that an answer does not depend on the others."""
        free: SimpleQueue[Engine] = SimpleQueue()
        for engine in self._engines[: self.threads]:
            free.put(engine)

        def read(item: Item) -> JsonObject | Exception:
            engine = free.get()
            try:
                return self._read(item, engine)
            finally:
                free.put(engine)

        return list(self._threads.map(read, batch))

    def _read(self, item: Item, engine: Engine) -> JsonObject | Exception:
        try:
            lines = engine.read(item.images[0])
        except Exception as error:  # the others of the batch are not to blame
            return error
        if item.params["language"] == "ja":
            lines = [self._in_japanese(line) for line in lines if len(lines) == 1 or not is_stray(line.text)]
        if item.params["furigana"] == "strip":
            lines, _ = split_furigana(lines)
        return as_result(reading_order(lines))

    def _in_japanese(self, line: TextLine) -> TextLine:
        text = japanese_text(line.text, self._to_japanese_form)
        return TextLine(line.polygon, text, line.confidence, line.vertical)


def as_result(lines: Sequence[TextLine]) -> JsonObject:
    """Lines in reading order as the result of an OCR task."""
    characters = sum(len(line.text) for line in lines)
    weighted = sum(line.confidence * len(line.text) for line in lines)
    return {
        "text": join_lines(line.text for line in lines),
        "confidence": weighted / characters if characters else None,
        "lines": [
            {
                "polygon": line.polygon,
                "text": line.text,
                "confidence": line.confidence,
                "vertical": line.vertical,
            }
            for line in lines
        ],
    }
