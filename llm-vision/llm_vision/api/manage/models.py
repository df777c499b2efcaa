"""/models: which models there are, and loading and unloading them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from ...http.bodies.json_body import json_body
from ...http.openapi import BODY_CODES, error_responses
from ...services.model_care.care import ModelReport
from ..shared.dependencies import ServicesDep
from ..shared.request_docs import READER, json_request
from .downloads import as_info
from .model_bodies import LoadBody, ModelBody, ModelInfo, ModelList, UnloadAnswer

router = APIRouter(prefix="/models", tags=["Models"])


@router.get("", responses=error_responses(), summary="All models")
async def models(services: ServicesDep) -> ModelList:
    """Every model, whether it is in memory, where, and until when."""
    return ModelList(models=[_as_info(report) for report in await services.models.reports()])


@router.post(
    "/load",
    responses=error_responses(
        *BODY_CODES,
        *("model_loading", "model_load_failed", "model_too_large", "insufficient_memory", "storage_full"),
    ),
    openapi_extra=json_request(LoadBody, {"model": READER}),
    summary="Load a model into memory",
)
async def load(body: Annotated[LoadBody, json_body(LoadBody)], services: ServicesDep) -> ModelInfo:
    """Load a model now; answers when it is ready. Where its weights are missing, their download begins instead."""
    return _as_info(await services.models.load(body.model, body.keep_alive))


@router.post(
    "/unload",
    responses=error_responses(*BODY_CODES, "model_in_use", "model_loading"),
    openapi_extra=json_request(ModelBody, {"model": READER}),
    summary="Remove a model from memory",
)
async def unload(body: Annotated[ModelBody, json_body(ModelBody)], services: ServicesDep) -> UnloadAnswer:
    """Unload a model that is not in use."""
    return UnloadAnswer(model=body.model, unloaded=await services.models.unload(body.model))


def _as_info(report: ModelReport) -> ModelInfo:
    status, spec = report.status, report.status.spec
    return ModelInfo(
        id=spec.model_id,
        title=spec.title,
        tasks=sorted(spec.tasks),
        license=spec.license,
        embedded=spec.embedded,
        aliases=list(spec.aliases),
        chosen_because=report.chosen_because,
        weights=report.inventory.presence,
        weights_bytes=report.inventory.size_bytes,
        download_bytes=spec.weights.download_bytes if spec.weights else None,
        does_not_fit=report.misfit,
        state=status.state,
        in_use=status.leases,
        queued=status.queue_length,
        device=status.device,
        quantization=status.quantization,
        device_notice=status.device_notice,
        memory_bytes=status.memory_bytes or spec.memory_bytes,
        expires_in=status.expires_in,
        last_error=status.last_error,
        download=as_info(report.download) if report.download else None,
    )
