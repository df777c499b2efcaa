"""Reads text: chooses the engine, checks the language, shapes the reading."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from ...errors import InsufficientMemory, ModelLoadFailed, UnsupportedLanguage
from ...images.raw import RawImage
from ...manga.furigana import Furigana, Ruby
from ...models.base import ModelSpec, Task
from ...models.registry import Catalog
from ...models.tasks.reading import TRUNCATED, ReadCrop
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
class OcrRequest:
    """What a client asks for."""

    engine: str | None
    language: str
    furigana: Furigana = Furigana.STRIP
    may_fall_back: bool = True
    may_download: bool = False
    """Whether the client may manage models: then naming one whose weights are missing brings them."""


@dataclass(frozen=True)
class Reading:
    """The text of a picture."""

    text: str
    confidence: float | None
    engine: str
    language: str
    notice: str | None
    degraded: bool
    rubies: Sequence[Ruby] | None = None
    """Where they were asked for and the engine knows them."""
    truncated: bool = False
    """Whether the picture has more lines than were read."""


@dataclass(frozen=True)
class ChosenEngine:
    """Who reads, what it is asked, and who reads when it cannot be loaded."""

    engine: str
    crop: ReadCrop
    fallback: str | None = None
    notice: str | None = None
    """Why this is not the engine that would have been chosen."""


@dataclass(frozen=True)
class CropReader:
    """An admitted OCR request."""

    service: OcrService
    permit: Permit
    chosen: ChosenEngine
    client: str

    async def read(self, picture: RawImage) -> Reading:
        """The text of an RGB picture; where the choice was ours, by the embedded engine when ours cannot be loaded.

        Raises:
            VisionError: the model could not be loaded or did not answer.
        """
        try:
            return await self._read(picture)
        except (ModelLoadFailed, InsufficientMemory) as error:
            chosen = self.chosen
            if chosen.fallback is None or picture.is_taken:
                raise
            notice = f"{chosen.engine} is unavailable ({error.code}); {chosen.fallback} read the image instead."
            log.warning(notice)
            instead = replace(chosen, engine=chosen.fallback, fallback=None, notice=notice)
            async with self.service.admit_to(instead, self.client) as reader:
                return await reader._read(picture)

    async def _read(self, picture: RawImage) -> Reading:
        chosen = self.chosen
        outcome = await self.permit.run(chosen.engine, [picture], chosen.crop, is_last_use=True)
        crop = outcome.value
        instead = " ".join(filter(None, [chosen.notice, outcome.device_notice]))
        if instead:
            self.permit.metrics.count_degraded(chosen.engine)
        return Reading(
            text=crop.text,
            confidence=crop.confidence if crop.text else None,
            engine=chosen.engine,
            language=chosen.crop.language,
            notice=" ".join(filter(None, [instead, crop.notice, TRUNCATED if crop.truncated else None])) or None,
            degraded=bool(instead),
            rubies=crop.rubies,
            truncated=crop.truncated,
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
    async def admit(self, request: OcrRequest, client: str) -> AsyncIterator[CropReader]:
        """Admit a request before its picture is decoded.

        Raises:
            ModelNotFound, UnsupportedTask, UnsupportedLanguage, QueueFull, RateLimited: the request is refused.
            DeadlineExceeded, ModelLoading: it took too long, or the named model's weights are being downloaded.
            ModelLoadFailed, StorageFull: they are missing, and cannot or may not be downloaded.
        """
        async with self.admit_to(await self.choose(request), client) as reader:
            yield reader

    @asynccontextmanager
    async def admit_to(self, chosen: ChosenEngine, client: str) -> AsyncIterator[CropReader]:
        """Admit a request to the engine that was chosen for it; see `admit`."""
        async with self._inference.admit([(chosen.engine, Task.OCR)], client, self._seconds) as permit:
            yield CropReader(self, permit, chosen, client)

    def languages(self) -> dict[str, tuple[str, list[str]]]:
        """Language code to its English name and the engines that read it."""
        known: dict[str, tuple[str, list[str]]] = {}
        for spec in self._catalog.with_task(Task.OCR):
            for code, name in (spec.languages or {}).items():
                known.setdefault(code, (name, []))[1].append(spec.model_id)
        return dict(sorted(known.items()))

    async def choose(self, request: OcrRequest) -> ChosenEngine:
        """The engine that was named, else the first one when it can read this, else the embedded one."""
        spec = self._inference.spec(request.engine or self._engines.first, Task.OCR)
        embedded = self._engines.embedded if request.engine is None else None
        code = _find_code(spec, request.language)
        if embedded is None or (code and not request.may_fall_back):
            code = code or _require_code(spec, request.language)
            await self._availability.require(spec, may_download=request.may_download)
            return ChosenEngine(spec.model_id, ReadCrop(code, request.furigana))
        if code is None:
            spec = self._inference.spec(embedded, Task.OCR)
            return ChosenEngine(embedded, ReadCrop(_require_code(spec, request.language), request.furigana))
        crop = ReadCrop(code, request.furigana)
        obstacle = await self._availability.find_obstacle(spec, may_download=request.may_download)
        if obstacle:
            notice = f"{spec.title} would read this better: {obstacle.detail}."
            return ChosenEngine(embedded, crop, notice=notice)
        return ChosenEngine(spec.model_id, crop, fallback=embedded)


def _find_code(spec: ModelSpec, language: str) -> str | None:
    """The code as the model spells it: `JA` and `ja-JP` are `ja`; None when it does not read the language."""
    by_lower = {code.lower(): code for code in spec.languages or {}}
    wanted = language.lower().replace("_", "-")
    return by_lower.get(wanted) or by_lower.get(wanted.split("-")[0])


def _require_code(spec: ModelSpec, language: str) -> str:
    code = _find_code(spec, language)
    if code is None:
        raise UnsupportedLanguage(
            f"{spec.model_id} does not read this language; it reads: {', '.join(spec.languages or {})}",
            param="language",
        )
    return code
