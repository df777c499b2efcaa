"""What routes are handed: the services and the limits that `app.py` built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ...admission.deadlines import Deadlines
from ...metrics import Metrics
from ...runtime.downloads.downloads import Downloads
from ...runtime.pool.pool import ModelPool
from ...services.analysis.service import VisionService
from ...services.chat.service import ChatService
from ...services.lifecycle import Lifecycle
from ...services.model_care.availability import Availability
from ...services.model_care.default_vlm import DefaultVlm
from ...services.pictures.decoding import PictureDecoder
from ...services.pictures.fetching import UrlPictures
from ...services.reading.batches import BatchPlaces
from ...services.reading.crops import OcrService
from ...services.reading.pages import PageService


@dataclass(frozen=True)
class Services:
    """Every object that routes use."""

    ocr: OcrService
    pages: PageService
    vision: VisionService
    chat: ChatService
    default_vlm: DefaultVlm
    pictures: PictureDecoder
    url_pictures: UrlPictures
    pool: ModelPool
    downloads: Downloads
    availability: Availability
    metrics: Metrics
    lifecycle: Lifecycle
    deadlines: Deadlines
    load_seconds: float
    batches: BatchPlaces
    batch_seconds: float
    max_file_bytes: int
    max_pictures: int
    """Of a chat request."""


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
