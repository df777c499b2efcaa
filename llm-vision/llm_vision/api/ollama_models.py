"""Ollama's API: which models there are, what is known of them, downloading and deleting them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from ..runtime.downloads import DownloadStatus
from ..runtime.slots import ModelStatus
from ..schemas.models import ONE_YEAR
from ..schemas.ollama import (
    Details,
    LoadedModel,
    LoadedModels,
    LocalModel,
    LocalModels,
    ModelBody,
    PullLine,
    ShownModel,
    Version,
)
from .dependencies import Services, ServicesDep
from .downloads import remove
from .forms import json_request
from .json_body import json_body
from .media_types import NDJSON
from .ollama_answers import line_of, timestamp
from .openapi import BODY_CODES, ollama_responses

router = APIRouter(prefix="/api", tags=["Ollama"])
API_VERSION = "0.12.0"
"""Of Ollama, whose API this is: clients look at it to know what they may use."""

Body = Annotated[ModelBody, json_body(ModelBody, any_type=True)]


@router.get("/version", responses=ollama_responses(), summary="Version of the API")
async def api_version() -> Version:
    """The version of Ollama whose API is spoken here; GET /version tells the service's own."""
    return Version(version=API_VERSION)


@router.get("/tags", responses=ollama_responses(), summary="Models whose weights are there")
async def local_models(services: ServicesDep) -> LocalModels:
    """Models that answer questions or read text, and need no download."""
    return LocalModels(models=await asyncio.to_thread(_local, services))


@router.get("/ps", responses=ollama_responses(), summary="Models in memory")
async def loaded_models(services: ServicesDep) -> LoadedModels:
    """Models that answer questions or read text, and are in memory."""
    return LoadedModels(models=[_loaded(status) for status in _known(services) if status.state == "ready"])


@router.post(
    "/show",
    responses=ollama_responses(*BODY_CODES),
    openapi_extra=json_request(ModelBody),
    summary="What is known of a model",
)
async def show_model(body: Body, services: ServicesDep) -> ShownModel:
    """Licence, kind and capabilities."""
    status = await _status_of(body.model, services)
    spec, details = status.spec, _details(status)
    return ShownModel(
        license=spec.license,
        details=details,
        model_info={"general.architecture": details.family, "general.basename": spec.model_id},
        capabilities=["completion", "vision", *(["tools"] if "chat" in spec.tasks else [])],
        modified_at=timestamp(0),
    )


@router.post(
    "/pull",
    response_model=PullLine,
    responses={
        200: {"content": {NDJSON: {"schema": {"$ref": "#/components/schemas/PullLine"}}}},
        **ollama_responses(*BODY_CODES, "unsupported_task", "model_load_failed", "storage_full"),
    },
    openapi_extra=json_request(ModelBody),
    summary="Download a model's weights",
)
async def pull_weights(body: Body, services: ServicesDep) -> Response:
    """Download weights, a line of JSON at a time; at once where they are there. It goes on when the client leaves."""
    spec = await services.chat.spec(body.model)
    is_there = services.availability.size_bytes(spec) is not None
    if not is_there:
        services.downloads.begin(spec, retry_failed=True)
    lines = _pulling(spec.model_id, services, is_there=is_there)
    if body.stream:
        return StreamingResponse(lines, media_type=NDJSON)
    last = [line async for line in lines][-1]
    return Response(last, media_type="application/json")


async def _pulling(model_id: str, services: Services, *, is_there: bool) -> AsyncIterator[str]:
    yield line_of({"status": "pulling manifest"})
    if not is_there:
        async for status in services.downloads.follow(services.pool.spec(model_id)):
            if status.error:
                yield line_of({"error": status.error.detail})
                return
            yield line_of(_progress(model_id, status))
    yield line_of({"status": "success"})


def _progress(model_id: str, status: DownloadStatus) -> dict[str, Any]:
    line = PullLine(
        status=f"pulling {model_id}",
        digest=_digest(model_id, None),
        total=status.bytes_total,
        completed=status.bytes_done,
    )
    return line.model_dump(exclude_none=True)


@router.delete(
    "/delete",
    responses=ollama_responses(
        *BODY_CODES, "unsupported_task", "model_in_use", "weights_not_downloaded", "model_loading"
    ),
    openapi_extra=json_request(ModelBody),
    summary="Delete downloaded weights",
)
async def delete_weights(body: Body, services: ServicesDep) -> Response:
    """Delete weights that this service has downloaded; a model in memory is unloaded first."""
    await remove((await services.chat.spec(body.model)).model_id, services)
    return Response()


def _known(services: Services) -> list[ModelStatus]:
    ids = set(services.chat.model_ids())
    return [status for status in services.pool.status() if status.spec.model_id in ids]


async def _status_of(name: str, services: Services) -> ModelStatus:
    model_id = (await services.chat.spec(name)).model_id
    return next(status for status in services.pool.status() if status.spec.model_id == model_id)


def _local(services: Services) -> list[LocalModel]:
    sizes = [(status, services.availability.size_bytes(status.spec)) for status in _known(services)]
    return [
        LocalModel(
            name=status.spec.model_id,
            model=status.spec.model_id,
            modified_at=timestamp(0),
            size=size,
            digest=_digest_of(status),
            details=_details(status),
        )
        for status, size in sizes
        if size is not None
    ]


def _loaded(status: ModelStatus) -> LoadedModel:
    stays = ONE_YEAR if status.expires_in is None else status.expires_in
    return LoadedModel(
        name=status.spec.model_id,
        model=status.spec.model_id,
        size=status.memory_bytes,
        digest=_digest_of(status),
        details=_details(status),
        expires_at=timestamp(time.time() + stays),
        size_vram=status.memory_bytes if (status.device or "cpu") != "cpu" else 0,
    )


def _digest_of(status: ModelStatus) -> str:
    weights = status.spec.weights
    return _digest(status.spec.model_id, weights.revision if weights else None)


def _digest(model_id: str, revision: str | None) -> str:
    return hashlib.sha256(f"{model_id}@{revision or ''}".encode()).hexdigest()


def _details(status: ModelStatus) -> Details:
    weights = status.spec.weights
    family = weights.kind if weights else status.spec.model_id
    file_format = "safetensors" if weights else "onnx"
    return Details(format=file_format, family=family, families=[family], quantization_level=status.quantization or "")
