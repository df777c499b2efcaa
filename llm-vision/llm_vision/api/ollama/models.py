"""Ollama's API: which models there are, what is known of them, downloading and deleting them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated, Any

import psutil
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ...http.bodies.json_body import json_body
from ...http.media_types import NDJSON
from ...http.openapi import BODY_CODES, ollama_responses
from ...services.chat.service import AUTO
from ...services.model_care.care import DownloadStatus, ModelStatus
from ...services.model_care.files import ModelFiles
from ..shared.chat_bodies import ONE_YEAR, ListsAll
from ..shared.dependencies import Services, ServicesDep
from ..shared.request_docs import READER, json_request
from .answer import format_line, format_time
from .bodies import (
    Details,
    LoadedModel,
    LoadedModels,
    LocalModel,
    LocalModels,
    OllamaModelBody,
    OllamaVersion,
    PullLine,
    ShownModel,
)

router = APIRouter(prefix="/api", tags=["Ollama"])
API_VERSION = "0.12.0"
"""Of Ollama, whose API this is: clients look at it to know what they may use."""
_FOR_EVER = 100 * ONE_YEAR
"""Seconds: the command line says "Forever" from 20 years on."""

Body = Annotated[OllamaModelBody, json_body(OllamaModelBody, any_type=True)]


@router.get("/version", responses=ollama_responses(), summary="Version of the API")
async def api_version() -> OllamaVersion:
    """The version of Ollama whose API is spoken here; GET /version tells the service's own."""
    return OllamaVersion(version=API_VERSION)


@router.get("/tags", responses=ollama_responses("invalid_parameter"), summary="Models to chat with")
async def local_models(services: ServicesDep, everything: ListsAll = False) -> LocalModels:
    """`auto`, which is the model that the service is set to, and the models that can chat and whose weights are here.

    With `all=true`, also models whose weights are not here, and those that only read text.
    """
    listed = await services.models.chat_models(everything=everything)
    default = services.models.status((await services.chat.spec(AUTO)).model_id)
    models = [_as_local(one, await services.models.files(one.spec.model_id)) for one in (default, *listed)]
    models[0].name = models[0].model = AUTO
    return LocalModels(models=models)


@router.get("/ps", responses=ollama_responses(), response_model_exclude_none=True, summary="Models in memory")
async def loaded_models(services: ServicesDep) -> LoadedModels:
    """Models that answer questions or read text, and are in memory."""
    ready = [status for status in await services.models.chat_models(everything=True) if status.state == "ready"]
    return LoadedModels(models=[await _as_loaded(status, services) for status in ready])


@router.post(
    "/show",
    responses=ollama_responses(*BODY_CODES),
    openapi_extra=json_request(OllamaModelBody, {"model": READER}),
    summary="What is known of a model",
)
async def show_model(body: Body, services: ServicesDep) -> ShownModel:
    """Licence, kind and capabilities."""
    model_id = (await services.chat.spec(body.model)).model_id
    return _as_shown(services.models.status(model_id), await services.models.files(model_id))


@router.post(
    "/pull",
    response_model=PullLine,
    responses={
        200: {"content": {NDJSON: {"schema": {"$ref": "#/components/schemas/PullLine"}}}},
        **ollama_responses(*BODY_CODES, "unsupported_task", "model_load_failed", "model_too_large", "storage_full"),
    },
    openapi_extra=json_request(OllamaModelBody, {"model": READER}),
    summary="Download a model's weights",
)
async def pull_weights(body: Body, services: ServicesDep) -> Response:
    """Download weights, a line of JSON at a time; at once where they are there. It goes on when the client leaves."""
    model_id = (await services.chat.spec(body.model)).model_id
    is_there = (await services.models.files(model_id)).size_bytes is not None
    if not is_there:
        await services.models.begin_download(model_id)
    if body.is_streamed:
        return StreamingResponse(_stream_pull(model_id, services, is_there=is_there), media_type=NDJSON)
    if not is_there:
        await services.models.download(model_id)
    return JSONResponse({"status": "success"})


async def _stream_pull(model_id: str, services: Services, *, is_there: bool) -> AsyncIterator[str]:
    yield format_line({"status": "pulling manifest"})
    if not is_there:
        async for status in services.models.follow_download(model_id):
            if status.error:
                yield format_line({"error": status.error.detail})
                return
            yield format_line(_as_pull_line(model_id, status))
    yield format_line({"status": "success"})


def _as_pull_line(model_id: str, status: DownloadStatus) -> dict[str, Any]:
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
    openapi_extra=json_request(OllamaModelBody, {"model": READER}),
    summary="Delete downloaded weights",
)
async def delete_weights(body: Body, services: ServicesDep) -> Response:
    """Delete weights that this service has downloaded; a model in memory is unloaded first."""
    await services.models.delete((await services.chat.spec(body.model)).model_id)
    return Response()


def _as_local(status: ModelStatus, files: ModelFiles) -> LocalModel:
    return LocalModel(
        name=status.spec.model_id,
        model=status.spec.model_id,
        modified_at=_format_change_time(files),
        size=files.size_bytes or 0,
        digest=_digest_status(status),
        details=_as_details(status),
    )


async def _as_loaded(status: ModelStatus, services: Services) -> LoadedModel:
    model_id = status.spec.model_id
    stays = services.models.remaining_seconds(status)
    return LoadedModel(
        name=model_id,
        model=model_id,
        size=status.memory_bytes,
        digest=_digest_status(status),
        details=_as_details(status),
        expires_at=format_time(time.time() + (_FOR_EVER if stays is None else stays)),
        size_vram=status.memory_bytes if (status.device or "cpu") != "cpu" else 0,
        context_length=(await services.models.files(model_id)).context_length,
    )


def _as_shown(status: ModelStatus, files: ModelFiles) -> ShownModel:
    spec, details, length = status.spec, _as_details(status), files.context_length
    takes_tools = "chat" in spec.tasks and spec.computes  # of another server it is not known
    return ShownModel(
        license=spec.license,
        details=details,
        model_info={
            "general.architecture": details.family,
            "general.basename": spec.model_id,
            **({f"{details.family}.context_length": length} if length else {}),
        },
        capabilities=["completion", "vision", *(["tools"] if takes_tools else [])],
        modified_at=_format_change_time(files),
    )


def _format_change_time(files: ModelFiles) -> str:
    """When a model's files have changed; the service's start where there are none."""
    return format_time(_find_service_start() if files.changed_at is None else files.changed_at)


@cache
def _find_service_start() -> float:
    return psutil.Process(os.getpid()).create_time()


def _digest_status(status: ModelStatus) -> str:
    weights = status.spec.weights
    return _digest(status.spec.model_id, weights.revision if weights else None)


def _digest(model_id: str, revision: str | None) -> str:
    return hashlib.sha256(f"{model_id}@{revision or ''}".encode()).hexdigest()


def _as_details(status: ModelStatus) -> Details:
    weights = status.spec.weights
    family = weights.kind if weights else status.spec.model_id
    file_format = "safetensors" if weights else "onnx" if status.spec.embedded else ""
    return Details(format=file_format, family=family, families=[family], quantization_level=status.quantization or "")
