"""What routes are handed: the services and the limits that `app.py` built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ..metrics import Metrics
from ..runtime.downloads import Downloads
from ..runtime.pool import ModelPool
from ..runtime.turns import FairPlaces
from ..services.availability import Availability
from ..services.batches import BatchPlaces
from ..services.chat import ChatService
from ..services.deadlines import Deadlines
from ..services.default_vlm import DefaultVlm
from ..services.lifecycle import Lifecycle
from ..services.ocr import OcrService
from ..services.pages import PageService
from ..services.pictures import PictureDecoder
from ..services.url_pictures import UrlPictures
from ..services.vision import VisionService


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
    large_bodies: FairPlaces
    """One large body is parsed at a time."""


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
