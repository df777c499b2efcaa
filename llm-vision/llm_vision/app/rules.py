"""Settings as the rules of each room."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

from ..admission.owners import CacheOwners
from ..http.access import AccessRules
from ..images.decode import ImageLimits
from ..models.base import Volume
from ..models.registry import Catalog
from ..runtime.downloads.rules import DownloadRules
from ..runtime.placement.device import find_gpus, memory_limit_bytes
from ..runtime.placement.fitting import Fitting
from ..runtime.placement.placements import DevicePolicy
from ..runtime.pool.limits import PoolLimits
from ..runtime.worker.limits import WorkerLimits
from ..services.pictures.fetching import FetchRules
from ..services.pictures.urls import UrlRules
from ..services.reading.crops import OcrEngines
from ..settings import Settings
from ..settings.group import MEBIBYTE

EMBEDDED_OCR = "rapidocr"
MANGA_OCR = "manga-ocr"


def access_rules(settings: Settings) -> AccessRules:
    """Who may ask: keys, Host and Origin headers. Without a list of hosts, a service on loopback answers to its own."""
    hosts = frozenset(name.lower() for name in (*settings.allowed_hosts, socket.gethostname()))
    return AccessRules(
        api_keys=tuple(key.get_secret_value() for key in settings.api_keys),
        admin_keys=tuple(key.get_secret_value() for key in settings.admin_keys),
        hosts=hosts if (settings.allowed_hosts or settings.is_loopback) and "*" not in hosts else None,
        origins=frozenset(settings.cors_origins),
    )


def cache_owners(settings: Settings) -> CacheOwners:
    """Whose cached prompts and pictures a request may meet; without keys nobody can be told from anybody else."""
    has_keys = bool(settings.api_keys or settings.admin_keys)
    return CacheOwners(are_apart=has_keys and not settings.shared_cache)


def device_policies(settings: Settings) -> dict[Volume | None, DevicePolicy]:
    """Where models run; what is not said of LLaVA is as for the others."""
    others = DevicePolicy(settings.device, cpu_fallback=settings.cpu_fallback)
    llava_device = settings.device if settings.llava_device == "auto" else settings.llava_device
    return {
        None: others,
        Volume.LLAVA: replace(others, device=llava_device, quantization=settings.llava_quantization),
    }


def download_rules(settings: Settings) -> DownloadRules:
    """Whether weights may be downloaded."""
    fitting = Fitting(device_policies(settings), find_gpus, pool_limits(settings).memory_bytes)
    return DownloadRules(
        allowed=settings.download == "auto",
        offline=settings.hf_hub_offline,
        pause_seconds=settings.failed_load_seconds,
        memory_need=fitting.memory_need,
    )


def fetch_rules(settings: Settings) -> FetchRules:
    """Which pictures may be fetched by URL, and how much a fetch may take."""
    hosts = frozenset(host.lower().strip("[]") for host in settings.url_hosts)
    return FetchRules(
        urls=UrlRules(hosts, allows_http=settings.url_http, allows_private=settings.url_private),
        max_bytes=settings.max_file_bytes,
        seconds=settings.url_seconds,
        queue_seconds=settings.queue_seconds,
        redirects=settings.url_redirects,
        allows_tiff=settings.allow_tiff,
    )


def ocr_engines(settings: Settings, catalog: Catalog) -> OcrEngines:
    """Who reads when a request names nobody."""
    if settings.ocr_engine == "auto":
        return OcrEngines(MANGA_OCR, EMBEDDED_OCR)
    return OcrEngines(catalog.find(settings.ocr_engine) or settings.ocr_engine, None)


def volumes(settings: Settings) -> dict[Volume, Path]:
    """The folders where the volumes are mounted."""
    return {Volume.LLAVA: settings.transformers_cache, Volume.MANGA_OCR: settings.mangaocr_model_path}


def pool_limits(settings: Settings) -> PoolLimits:
    """How many models may be in memory, how large, for how long."""
    return PoolLimits(
        max_loaded=settings.max_loaded_models,
        memory_bytes=(settings.memory_limit_mb or 0) * MEBIBYTE or memory_limit_bytes(),
        max_queue=settings.queue_size,
        keep_alive=settings.keep_alive,
        failed_load_seconds=settings.failed_load_seconds,
    )


def worker_limits(settings: Settings) -> WorkerLimits:
    """How much a worker takes in; each model has its own `max_batch`."""
    return WorkerLimits(
        max_batch=1,
        max_queue=settings.queue_size,
        queue_seconds=settings.queue_seconds,
        batch_wait=settings.batch_wait_ms / 1000,
        load_seconds=settings.load_seconds,
    )


def image_limits(settings: Settings) -> ImageLimits:
    """Which pictures are decoded."""
    return ImageLimits(
        max_pixels=int(settings.max_megapixels * 1_000_000),
        max_side=settings.max_side,
        max_ratio=settings.max_ratio,
        min_side=settings.min_side,
        allow_tiff=settings.allow_tiff,
    )
