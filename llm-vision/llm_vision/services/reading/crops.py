"""Reads text: chooses the engine, checks the language, shapes the reading."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from ...errors import InsufficientMemory, ModelLoadFailed, UnsupportedLanguage
from ...images.raw import RawImage
from ...models.base import JsonObject, ModelSpec, Task
from ...models.registry import Catalog
from ..inference import Inference, Permit
from ..model_care.availability import Availability

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OcrEngines:
    """Who reads when a request names nobody."""

    first: str
    embedded: str | None
    """Reads what the first cannot: other languages, and everything while its weights are missing; None for nobody."""


@dataclass(frozen=True)
class OcrWish:
    """What a client asks for."""

    engine: str | None
    language: str
    furigana: str
    may_fall_back: bool = True


@dataclass(frozen=True)
class Reading:
    """The text of a picture."""

    text: str
    confidence: float | None
    engine: str
    language: str
    notice: str | None
    degraded: bool
    ruby: Sequence[JsonObject] | None = None
    """`base` and `ruby` of each furigana, where they were asked for and the engine can tell."""


@dataclass(frozen=True)
class Choice:
    """An engine, what it is told, and who reads when it cannot be loaded."""

    engine: str
    language: str
    furigana: str
    fallback: str | None = None
    notice: str | None = None
    """Why this is not the engine that would have been chosen."""


@dataclass(frozen=True)
class Reader:
    """An admitted OCR request."""

    service: OcrService
    permit: Permit
    choice: Choice
    client: str

    async def read(self, picture: RawImage) -> Reading:
        """The text of an RGB picture; where the choice was ours, by the embedded engine when ours cannot be loaded.

        Raises:
            VisionError: the model could not be loaded or did not answer.
        """
        try:
            return await self._read(picture)
        except (ModelLoadFailed, InsufficientMemory) as error:
            if self.choice.fallback is None or picture.is_taken:
                raise
            notice = f"{self.choice.engine} cannot read now ({error.code}); {self.choice.fallback} has read instead."
            log.warning(notice)
            choice = replace(self.choice, engine=self.choice.fallback, fallback=None, notice=notice)
            async with self.service.admit_choice(choice, self.client) as reader:
                return await reader._read(picture)

    async def _read(self, picture: RawImage) -> Reading:
        choice = self.choice
        params = {"language": choice.language, "furigana": choice.furigana}
        result = await self.permit.run(choice.engine, [picture], params, is_last_use=True)
        text: str = result.value["text"]
        instead = " ".join(filter(None, [choice.notice, result.device_notice]))
        return Reading(
            text=text,
            confidence=result.value["confidence"] if text else None,
            engine=choice.engine,
            language=choice.language,
            notice=" ".join(filter(None, [instead, result.value.get("notice")])) or None,
            degraded=bool(instead),
            ruby=result.value.get("ruby"),
        )


class OcrService:
    """Everything that reads text.

    Args:
        inference: the door to the models.
        catalog: where the languages come from.
        engines: who reads when a request names nobody.
        availability: whether a model's weights are there.
        seconds: deadline of a request.
    """

    def __init__(
        self, inference: Inference, catalog: Catalog, engines: OcrEngines, availability: Availability, seconds: float
    ) -> None:
        self._inference = inference
        self._catalog = catalog
        self._engines = engines
        self._availability = availability
        self._seconds = seconds

    @asynccontextmanager
    async def admit(self, wish: OcrWish, client: str) -> AsyncIterator[Reader]:
        """Admit a request before its picture is decoded.

        Raises:
            ModelNotFound, UnsupportedTask, UnsupportedLanguage, QueueFull, RateLimited: the request is refused.
            DeadlineExceeded, ModelLoading: it took too long, or the named model's weights are being downloaded.
            ModelLoadFailed, StorageFull: they are missing, and cannot or may not be downloaded.
        """
        async with self.admit_choice(self.choose(wish), client) as reader:
            yield reader

    @asynccontextmanager
    async def admit_choice(self, choice: Choice, client: str) -> AsyncIterator[Reader]:
        """Admit a request to the engine that was chosen for it; see `admit`."""
        async with self._inference.admit([(choice.engine, Task.OCR)], client, self._seconds) as permit:
            yield Reader(self, permit, choice, client)

    def languages(self) -> dict[str, tuple[str, list[str]]]:
        """Language code to its English name and the engines that read it."""
        known: dict[str, tuple[str, list[str]]] = {}
        for spec in self._catalog.with_task(Task.OCR):
            for code, name in (spec.languages or {}).items():
                known.setdefault(code, (name, []))[1].append(spec.model_id)
        return dict(sorted(known.items()))

    def choose(self, wish: OcrWish) -> Choice:
        """The engine that was named, else the first one when it can read this, else the embedded one."""
        spec = self._inference.spec(wish.engine or self._engines.first, Task.OCR)
        embedded = self._engines.embedded if wish.engine is None else None
        code = _code_of(spec, wish.language)
        if embedded is None or (code and not wish.may_fall_back):
            code = code or _required_code(spec, wish.language)
            self._availability.require(spec)
            return Choice(spec.model_id, code, wish.furigana)
        if code is None:
            spec = self._inference.spec(embedded, Task.OCR)
            return Choice(embedded, _required_code(spec, wish.language), wish.furigana)
        obstacle = self._availability.obstacle(spec)
        if obstacle:
            notice = f"{spec.title} would read this better: {obstacle.detail}."
            return Choice(embedded, code, wish.furigana, notice=notice)
        return Choice(spec.model_id, code, wish.furigana, fallback=embedded)


def _code_of(spec: ModelSpec, language: str) -> str | None:
    """The code as the model spells it: `JA` and `ja-JP` are `ja`; None when it does not read the language."""
    by_lower = {code.lower(): code for code in spec.languages or {}}
    wanted = language.lower().replace("_", "-")
    return by_lower.get(wanted) or by_lower.get(wanted.split("-")[0])


def _required_code(spec: ModelSpec, language: str) -> str:
    code = _code_of(spec, language)
    if code is None:
        raise UnsupportedLanguage(
            f"{spec.model_id} does not read this language; it reads: {', '.join(spec.languages or {})}",
            param="language",
        )
    return code
