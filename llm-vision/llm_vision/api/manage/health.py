"""Probes for whoever runs the service: is it alive, ready, which version, how does it do."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import psutil
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from ... import __version__
from ...http.openapi import error_responses
from ..shared.dependencies import ServicesDep
from .health_bodies import Live, Ready, Version

router = APIRouter(tags=["Health"])

_REPORTED_PACKAGES = (
    "torch",
    "transformers",
    "manga-ocr",
    "rapidocr",
    "onnxruntime",
    "bitsandbytes",
    "fastapi",
)


@router.get("/livez", summary="Is the process alive?")
@router.get("/health", summary="Same as /livez", operation_id="health")
@router.head("/livez", include_in_schema=False)
@router.head("/health", include_in_schema=False)
async def livez() -> Live:
    """Answers as long as the gateway runs, whatever the models do."""
    return Live(status="ok")


@router.get("/readyz", responses={503: {"model": Ready}}, summary="Can it serve requests?")
@router.head("/readyz", include_in_schema=False)
async def readyz(services: ServicesDep, response: Response) -> Ready:
    """503 while models are preloaded and while the service shuts down. A lazy model counts as ready."""
    reason = services.lifecycle.not_ready_reason
    response.status_code = 503 if reason else 200
    statuses = services.models.statuses()
    return Ready(
        ready=reason is None,
        reason=reason,
        models={status.spec.model_id: status.state for status in statuses},
        notices={status.spec.model_id: status.device_notice for status in statuses if status.device_notice},
    )


@router.get("/version", responses=error_responses(), summary="Versions of the service and its libraries")
async def versions() -> Version:
    """What runs here."""
    return Version(version=__version__, python=platform.python_version(), packages=_list_packages())


@router.get("/metrics", responses=error_responses(), summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(services: ServicesDep) -> Response:
    """Requests, latency per stage, queues, tokens, batches, models and memory, in Prometheus's text format."""
    gateway_bytes = psutil.Process(os.getpid()).memory_info().rss
    services.metrics.set_state(gateway_bytes, *await services.models.gauges())
    return Response(services.metrics.write_exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


@cache
def _list_packages() -> dict[str, str]:
    """Installed versions, read without importing the packages."""
    versions = {}
    for name in _REPORTED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
