"""Reads text: chooses the engine, checks the language, shapes the reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..errors import UnsupportedLanguage
from ..images.raw import RawImage
from ..models.base import ModelSpec, Task
from ..models.registry import Catalog
from .inference import Inference, Permit


@dataclass(frozen=True)
class Reading:
    """The text of a picture."""

    text: str
    confidence: float | None
    engine: str
    notice: str | None


@dataclass(frozen=True)
class Reader:
    """An admitted OCR request."""

    permit: Permit
    engine: str
    language: str
    furigana: str

    async def read(self, picture: RawImage) -> Reading:
        """The text of an RGB picture.

        Raises:
            VisionError: the model could not be loaded or did not answer.
        """
        params = {"language": self.language, "furigana": self.furigana}
        result = await self.permit.run(self.engine, [picture], params, is_last_use=True)
        text: str = result.value["text"]
        return Reading(
            text=text,
            confidence=result.value["confidence"] if text else None,
            engine=self.engine,
            notice=result.device_notice,
        )


class OcrService:
    """Everything that reads text.

    Args:
        inference: the door to the models.
        catalog: where the languages come from.
        default_engine: model id that reads when a request names none.
        seconds: deadline of a request.
    """

    def __init__(self, inference: Inference, catalog: Catalog, default_engine: str, seconds: float) -> None:
        self._inference = inference
        self._catalog = catalog
        self._default_engine = default_engine
        self._seconds = seconds

    @asynccontextmanager
    async def admit(self, engine: str | None, language: str, furigana: str, client: str) -> AsyncIterator[Reader]:
        """Admit a request before its picture is decoded.

        Raises:
            ModelNotFound, UnsupportedTask, UnsupportedLanguage, QueueFull, RateLimited: the request is refused.
            DeadlineExceeded, ModelLoading: it took too long.
        """
        spec = self._inference.spec(engine or self._default_engine, Task.OCR)
        code = _known_language(spec, language)
        async with self._inference.admit([(spec.model_id, Task.OCR)], client, self._seconds) as permit:
            yield Reader(permit, spec.model_id, code, furigana)

    def languages(self) -> dict[str, tuple[str, list[str]]]:
        """Language code to its English name and the engines that read it."""
        known: dict[str, tuple[str, list[str]]] = {}
        for spec in self._catalog.with_task(Task.OCR):
            for code, name in (spec.languages or {}).items():
                known.setdefault(code, (name, []))[1].append(spec.model_id)
        return dict(sorted(known.items()))


def _known_language(spec: ModelSpec, language: str) -> str:
    """The code as the model spells it: `JA` and `ja-JP` are `ja`."""
    languages = spec.languages or {}
    by_lower = {code.lower(): code for code in languages}
    wanted = language.lower().replace("_", "-")
    code = by_lower.get(wanted) or by_lower.get(wanted.split("-")[0])
    if code is None:
        raise UnsupportedLanguage(
            f"{spec.model_id} does not read this language; it reads: {', '.join(languages)}", param="language"
        )
    return code
