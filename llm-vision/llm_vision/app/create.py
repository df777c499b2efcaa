"""Builds every object once, joins the layers, and owns the start and the stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from .. import __version__
from ..admission.deadlines import Deadlines
from ..admission.places import Places
from ..admission.rate_limit import RateLimit
from ..admission.turns import FairPlaces
from ..api.manga_tools.owocr_socket import OwocrSocket, SocketRules
from ..api.routers import ROUTERS
from ..api.shared.dependencies import Services
from ..errors import VisionError
from ..http import error_handlers
from ..http.access import AccessRules
from ..http.exchange import BodyRules
from ..http.gate import Gate, GateRules
from ..http.limits import BodyBudget
from ..http.openapi import with_errors_and_keys
from ..images.decode import ImageLimits
from ..metrics import Metrics
from ..models.base import Task, Volume
from ..models.registry import Catalog
from ..runtime.decoders.decoders import DecoderLimits, Decoders
from ..runtime.downloads.downloads import DownloadRules, Downloads, DownloadStatus
from ..runtime.placement.device import cpu_cores, find_gpus, memory_limit_bytes, missing_gpu
from ..runtime.placement.placements import DevicePolicy
from ..runtime.pool.pool import ModelPool, PoolLimits
from ..runtime.weights.store import WeightStore
from ..runtime.worker.factory import WorkerFactory
from ..runtime.worker.limits import WorkerLimits
from ..runtime.worker.shared import CoreShare, Shared
from ..services.analysis.service import VisionLimits, VisionService
from ..services.chat.service import ChatService
from ..services.inference import Inference
from ..services.lifecycle import Lifecycle, Running
from ..services.model_care.availability import Availability
from ..services.model_care.default_vlm import Candidate, DefaultVlm, Hardware
from ..services.pictures.decoding import PictureDecoder
from ..services.pictures.fetching import FetchRules, UrlPictures
from ..services.pictures.urls import UrlRules
from ..services.reading.batches import BatchPlaces
from ..services.reading.crops import OcrEngines, OcrService
from ..services.reading.pages import PageService
from ..settings import MEBIBYTE, Settings
from .catalog import as_set, llava_model

EMBEDDED_OCR = "rapidocr"
MANGA_OCR = "manga-ocr"
EMBEDDED_CLASSIFIER = "efficientnet-lite0"
VLMS = (
    Candidate("llava-hf/llava-onevision-qwen2-7b-ov-hf", least_gpu_bytes=7_500_000_000),  # in 4 bits
    Candidate("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", least_gpu_bytes=0),
)
"""What `LLAVA_MODEL_ID=auto` takes where no weights are there yet."""
MOST_DECODERS = 2
LEAST_THREADS = 2
LOAD_GRACE_SECONDS = 60.0  # an explicit load also waits for room, and tells its own failure first


def create_app(settings: Settings, catalog: Catalog | None = None) -> FastAPI:
    """The whole service as an ASGI app.

    Args:
        settings: what the operator set.
        catalog: the models; None for all of `llm_vision.models`.

    Raises:
        ValueError: a setting names a model that does not exist, or gives one a name that is taken.
    """
    catalog = as_set(settings, Catalog.discover() if catalog is None else catalog)
    metrics = Metrics()
    deadlines = Deadlines()
    services = _build_services(settings, catalog, metrics, deadlines)

    app = FastAPI(
        title="LLM Vision",
        version=__version__,
        summary="Reads manga text and answers questions about pictures.",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.state.large_bodies = FairPlaces(1)
    for router in ROUTERS:
        app.include_router(router)
    error_handlers.install(app)
    app.openapi = with_errors_and_keys(app.openapi)  # type: ignore[method-assign]
    rules = GateRules(
        access=_access_rules(settings),
        body=BodyRules(
            max_bytes=settings.max_body_bytes,
            larger={"/ocr/batch": settings.max_batch_bytes},
            seconds=settings.body_seconds,
            budget=BodyBudget(settings.buffer_bytes),
            deadlines=deadlines,
        ),
        rate=RateLimit(settings.key_requests_per_minute),
        is_draining=lambda: services.lifecycle.is_draining,
    )
    app.add_middleware(Gate, rules=rules, metrics=metrics)
    app.state.owocr_socket = _owocr_socket(settings, services, rules)
    if settings.cors_origins:  # added last, so it is outermost: a browser's preflight carries no key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    return app


async def download(settings: Settings, model_id: str) -> AsyncIterator[DownloadStatus]:
    """Download a model's weights without a service, whatever `VISION_DOWNLOAD` says: somebody has asked for it.

    Raises:
        ValueError: there is no such model, or a setting names one that does not exist.
    """
    catalog = as_set(settings, Catalog.discover())
    if model_id not in catalog:
        raise ValueError(f"there is no such model; there are: {', '.join(catalog)}")
    spec = catalog[model_id].spec
    rules = replace(_download_rules(settings), allowed=True)
    downloads = Downloads(WeightStore(_volumes(settings)), rules)
    try:
        downloads.begin(spec)
        async for status in downloads.follow(spec):
            yield status
    except VisionError as error:
        yield DownloadStatus("failed", error=error)
    finally:
        await downloads.close()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    threads = ThreadPoolExecutor(max(LEAST_THREADS, cpu_cores()), "gateway")  # more would only fight for the same lock
    asyncio.get_running_loop().set_default_executor(threads)
    services.lifecycle.start()
    owocr_socket: OwocrSocket | None = app.state.owocr_socket
    try:
        async with owocr_socket.serving() if owocr_socket else nullcontext():
            yield
    finally:
        await services.lifecycle.stop()


def _build_services(settings: Settings, catalog: Catalog, metrics: Metrics, deadlines: Deadlines) -> Services:
    limits = PoolLimits(
        max_loaded=settings.max_loaded_models,
        memory_bytes=(settings.memory_limit_mb or 0) * MEBIBYTE or memory_limit_bytes(),
        max_queue=settings.queue_size,
        keep_alive=settings.keep_alive,
        failed_load_seconds=settings.failed_load_seconds,
    )
    weights = WeightStore(_volumes(settings))
    fetched = Downloads(weights, _download_rules(settings))
    availability = Availability(weights, fetched)
    pool = ModelPool(catalog, _worker_factory(settings, metrics, weights), limits, metrics)
    inference = Inference(pool, metrics, deadlines, Places(settings.queue_size + MOST_DECODERS))
    decoders = _build_decoders(settings, metrics)
    default_vlm = _default_vlm(settings, catalog, weights, limits.memory_bytes)
    ocr_service = OcrService(inference, catalog, _ocr_engines(settings), availability, settings.ocr_seconds)
    limits_of_prompts = VisionLimits(settings.analyze_seconds, settings.max_prompt_chars)
    running = Running(pool, decoders, fetched, lambda: _complaints(settings, weights))
    return Services(
        ocr=ocr_service,
        url_pictures=UrlPictures(_fetch_rules(settings), deadlines),
        pages=PageService(inference, ocr_service, EMBEDDED_OCR, settings.page_seconds),
        vision=VisionService(
            inference,
            availability,
            default_vlm,
            {Task.OCR: EMBEDDED_OCR, Task.CLASSIFY: EMBEDDED_CLASSIFIER},
            limits_of_prompts,
        ),
        chat=ChatService(inference, availability, default_vlm, ocr_service, limits_of_prompts),
        default_vlm=default_vlm,
        pictures=PictureDecoder(decoders, metrics),
        pool=pool,
        downloads=fetched,
        availability=availability,
        metrics=metrics,
        lifecycle=Lifecycle(running, deadlines, settings.preload, settings.drain_seconds),
        deadlines=deadlines,
        load_seconds=settings.load_seconds + LOAD_GRACE_SECONDS,
        batches=BatchPlaces(),
        batch_seconds=settings.batch_seconds,
        max_file_bytes=settings.max_file_bytes,
        max_pictures=settings.max_pictures,
    )


def _owocr_socket(settings: Settings, services: Services, gate: GateRules) -> OwocrSocket | None:
    if settings.owocr_port is None:
        return None
    return OwocrSocket(services, SocketRules(settings.bind, settings.owocr_port, gate, settings.max_file_bytes))


def _fetch_rules(settings: Settings) -> FetchRules:
    hosts = frozenset(host.lower().strip("[]") for host in settings.url_hosts)
    return FetchRules(
        urls=UrlRules(hosts, allows_http=settings.url_http, allows_private=settings.url_private),
        max_bytes=settings.max_file_bytes,
        seconds=settings.url_seconds,
        queue_seconds=settings.queue_seconds,
        redirects=settings.url_redirects,
        allows_tiff=settings.allow_tiff,
    )


def _default_vlm(settings: Settings, catalog: Catalog, weights: WeightStore, memory_bytes: int) -> DefaultVlm:
    policy = _device_policies(settings)[Volume.LLAVA]
    hardware = Hardware(
        gpus=(lambda: ()) if policy.device == "cpu" else find_gpus,
        memory_bytes=memory_bytes,
        may_use_cpu=policy.cpu_fallback or policy.device in ("auto", "cpu"),
    )
    return DefaultVlm(llava_model(settings, catalog), catalog.with_task(Task.CHAT), VLMS, hardware, weights)


def _build_decoders(settings: Settings, metrics: Metrics) -> Decoders:
    image_limits = ImageLimits(
        max_pixels=int(settings.max_megapixels * 1_000_000),
        max_side=settings.max_side,
        max_ratio=settings.max_ratio,
        min_side=settings.min_side,
        allow_tiff=settings.allow_tiff,
    )
    limits = DecoderLimits(processes=min(MOST_DECODERS, cpu_cores()), budget_bytes=settings.buffer_bytes)
    return Decoders(asdict(image_limits), limits, metrics)


def _worker_factory(settings: Settings, metrics: Metrics, weights: WeightStore) -> WorkerFactory:
    cores = cpu_cores()
    limits = WorkerLimits(
        max_batch=1,
        max_queue=settings.queue_size,
        queue_seconds=settings.queue_seconds,
        batch_wait=settings.batch_wait_ms / 1000,
        load_seconds=settings.load_seconds,
    )
    shared = Shared(metrics, CoreShare(cores))
    environment = {"HF_HUB_CACHE": str(settings.transformers_cache.absolute())}
    may_download = _download_rules(settings).is_possible
    return WorkerFactory(
        _device_policies(settings), find_gpus, cores, limits, shared, weights, environment, may_download
    )


def _device_policies(settings: Settings) -> dict[Volume | None, DevicePolicy]:
    """Where models run; what is not said of LLaVA is as for the others."""
    others = DevicePolicy(settings.device, cpu_fallback=settings.cpu_fallback)
    llava_device = settings.device if settings.llava_device == "auto" else settings.llava_device
    return {
        None: others,
        Volume.LLAVA: replace(others, device=llava_device, quantization=settings.llava_quantization),
    }


def _download_rules(settings: Settings) -> DownloadRules:
    return DownloadRules(settings.download == "auto", settings.hf_hub_offline, settings.failed_load_seconds)


def _volumes(settings: Settings) -> dict[Volume, Path]:
    return {Volume.LLAVA: settings.transformers_cache, Volume.MANGA_OCR: settings.mangaocr_model_path}


def _ocr_engines(settings: Settings) -> OcrEngines:
    if settings.ocr_engine == "auto":
        return OcrEngines(MANGA_OCR, EMBEDDED_OCR)
    return OcrEngines(settings.ocr_engine, None)


def _complaints(settings: Settings, weights: WeightStore) -> list[str]:
    devices = dict.fromkeys(policy.device for policy in _device_policies(settings).values())
    return [*weights.complaints(), *filter(None, map(missing_gpu, devices))]


def _access_rules(settings: Settings) -> AccessRules:
    hosts = frozenset(name.lower() for name in (*settings.allowed_hosts, socket.gethostname()))
    return AccessRules(
        api_keys=tuple(key.get_secret_value() for key in settings.api_keys),
        admin_keys=tuple(key.get_secret_value() for key in settings.admin_keys),
        hosts=hosts if (settings.allowed_hosts or settings.is_loopback) and "*" not in hosts else None,
        origins=frozenset(settings.cors_origins),
    )


def _operation_id(route: APIRoute) -> str:
    return route.name
