"""What routes are handed: the services and the limits that `app/objects.py` built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ...metrics import Metrics
from ...services.analysis.service import VisionService
from ...services.chat.service import ChatService
from ...services.lifecycle import Lifecycle
from ...services.model_care.care import ModelCare
from ...services.pictures.sources import Pictures
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
    pictures: Pictures
    models: ModelCare
    metrics: Metrics
    lifecycle: Lifecycle
    batches: BatchPlaces
    batch_seconds: float
    max_file_bytes: int


def _get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_get_services)]
