"""Every object of the service, built once, in the order in which they need each other."""

from __future__ import annotations

from dataclasses import asdict

from ..admission.deadlines import Deadlines
from ..admission.places import Places
from ..api.manga_tools.owocr_socket import OwocrSocket, SocketRules
from ..api.shared.dependencies import Services
from ..http.gate import GateRules
from ..metrics import Metrics
from ..models.base import Task, Volume
from ..models.registry import Catalog
from ..runtime.decoders.decoders import DecoderLimits, Decoders
from ..runtime.downloads.downloads import Downloads
from ..runtime.placement.device import cpu_cores, find_gpus, missing_gpu
from ..runtime.pool.pool import ModelPool
from ..runtime.weights.store import WeightStore
from ..runtime.worker.factory import WorkerFactory
from ..runtime.worker.shared import CoreShare, Shared
from ..services.analysis.service import VisionLimits, VisionModels, VisionService
from ..services.chat.service import ChatModels, ChatService
from ..services.inference import Inference
from ..services.lifecycle import Lifecycle, LifecycleParts
from ..services.model_care.availability import Availability, Defaults
from ..services.model_care.care import CareParts, ModelCare
from ..services.model_care.default_vlm import Candidate, DefaultVlm, Hardware
from ..services.pictures.fetching import UrlPictures
from ..services.pictures.sources import Pictures
from ..services.reading.batches import BatchPlaces
from ..services.reading.crops import OcrService
from ..services.reading.pages import PageService
from ..settings import Settings
from .catalog import find_llava
from .rules import (
    EMBEDDED_OCR,
    cache_owners,
    device_policies,
    download_rules,
    fetch_rules,
    image_limits,
    ocr_engines,
    pool_limits,
    volumes,
    worker_limits,
)

EMBEDDED_CLASSIFIER = "efficientnet-lite0"
VLMS = (
    Candidate("llava-hf/llava-onevision-qwen2-7b-ov-hf", least_gpu_bytes=7_500_000_000),  # in 4 bits
    Candidate("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", least_gpu_bytes=0),
)
"""What `LLAVA_MODEL_ID=auto` takes where no weights are there yet."""
MOST_DECODERS = 2
LOAD_GRACE_SECONDS = 60.0  # an explicit load also waits for room, and reports its own failure first


def build_services(settings: Settings, catalog: Catalog, metrics: Metrics, deadlines: Deadlines) -> Services:
    """What routes are handed. Nothing is started and nothing imported that a model needs."""
    limits = pool_limits(settings)
    weights = WeightStore(volumes(settings))
    downloads = Downloads(weights, download_rules(settings))
    default = _build_default_vlm(settings, catalog, weights, limits.memory_bytes)
    engines = ocr_engines(settings, catalog)
    availability = Availability(weights, downloads, Defaults(engines.first, default))
    pool = ModelPool(catalog, _build_worker_factory(settings, metrics, weights), limits, metrics)
    inference = Inference(pool, metrics, deadlines, Places(settings.queue_size + MOST_DECODERS), cache_owners(settings))
    decoders = _build_decoders(settings, metrics)
    url_pictures = UrlPictures(fetch_rules(settings), deadlines)
    pictures = Pictures(decoders, url_pictures, settings.max_pictures, settings.max_file_bytes)
    ocr = OcrService(inference, catalog, engines, availability, settings.ocr_seconds)
    embedded = {Task.OCR: EMBEDDED_OCR, Task.CLASSIFY: EMBEDDED_CLASSIFIER}
    prompt_limits = VisionLimits(settings.analyze_seconds, settings.max_prompt_chars)
    lifecycle_parts = LifecycleParts(pool, decoders, downloads, lambda: _list_complaints(settings, weights))
    return Services(
        ocr=ocr,
        pages=PageService(inference, ocr, EMBEDDED_OCR, settings.page_seconds),
        vision=VisionService(inference, VisionModels(availability, default, embedded), pictures, prompt_limits),
        chat=ChatService(inference, ChatModels(availability, default, ocr), pictures, prompt_limits),
        pictures=pictures,
        models=ModelCare(
            CareParts(pool, downloads, weights, availability, default),
            deadlines,
            settings.load_seconds + LOAD_GRACE_SECONDS,
        ),
        metrics=metrics,
        lifecycle=Lifecycle(lifecycle_parts, deadlines, settings.preload, settings.drain_seconds),
        batches=BatchPlaces(),
        batch_seconds=settings.batch_seconds,
        max_file_bytes=settings.max_file_bytes,
    )


def build_owocr_socket(settings: Settings, services: Services, gate: GateRules) -> OwocrSocket | None:
    """Owocr's WebSocket, on a port of its own; None where `VISION_OWOCR_PORT` is not set."""
    if settings.owocr_port is None:
        return None
    return OwocrSocket(services, SocketRules(settings.bind, settings.owocr_port, gate, settings.max_file_bytes))


def _build_default_vlm(settings: Settings, catalog: Catalog, weights: WeightStore, memory_bytes: int) -> DefaultVlm:
    policy = device_policies(settings)[Volume.LLAVA]
    hardware = Hardware(
        gpus=(lambda: ()) if policy.device == "cpu" else find_gpus,
        memory_bytes=memory_bytes,
        may_use_cpu=policy.cpu_fallback or policy.device in ("auto", "cpu"),
    )
    return DefaultVlm(find_llava(settings, catalog), catalog.with_task(Task.CHAT), VLMS, hardware, weights)


def _build_decoders(settings: Settings, metrics: Metrics) -> Decoders:
    limits = DecoderLimits(processes=MOST_DECODERS, budget_bytes=settings.buffer_bytes)
    return Decoders(asdict(image_limits(settings)), limits, metrics)


def _build_worker_factory(settings: Settings, metrics: Metrics, weights: WeightStore) -> WorkerFactory:
    cores = cpu_cores()
    shared = Shared(metrics, CoreShare(cores))
    environment = {"HF_HUB_CACHE": str(settings.transformers_cache.absolute())}
    may_download = download_rules(settings).is_possible
    return WorkerFactory(
        device_policies(settings), find_gpus, cores, worker_limits(settings), shared, weights, environment, may_download
    )


def _list_complaints(settings: Settings, weights: WeightStore) -> list[str]:
    devices = dict.fromkeys(policy.device for policy in device_policies(settings).values())
    return [*weights.complaints(), *filter(None, map(missing_gpu, devices))]
