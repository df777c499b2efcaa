"""/models/download and /models/delete: weights onto their volume, and off it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from ...http.bodies.json_body import json_body
from ...http.media_types import NDJSON
from ...http.openapi import BODY_CODES, error_responses
from ...runtime.downloads.downloads import DownloadStatus
from ...services.model_care.loading import late
from ..shared.dependencies import Services, ServicesDep
from ..shared.uploads import json_request
from .model_bodies import DeleteAnswer, DownloadInfo, DownloadLine, ModelBody

router = APIRouter(prefix="/models", tags=["Models"])


@router.post(
    "/download",
    responses={
        **error_responses(*BODY_CODES, "model_load_failed", "storage_full"),
        200: {"content": {NDJSON: {"schema": DownloadLine.model_json_schema()}}},
    },
    response_class=StreamingResponse,
    openapi_extra=json_request(ModelBody),
    summary="Download a model's weights",
)
async def download(body: Annotated[ModelBody, json_body(ModelBody)], services: ServicesDep) -> StreamingResponse:
    """Download weights onto their volume; tells how far it is, a line of JSON at a time, until it is done or failed.

    The download goes on when the client leaves.
    """
    services.downloads.begin(services.pool.spec(body.model), retry_failed=True)
    return StreamingResponse(_lines(body.model, services), media_type=NDJSON)


async def _lines(model: str, services: Services) -> AsyncIterator[str]:
    async for status in services.downloads.follow(services.pool.spec(model)):
        yield DownloadLine(model=model, **info_of(status).model_dump()).model_dump_json() + "\n"


@router.post(
    "/delete",
    responses=error_responses(*BODY_CODES, "model_in_use", "weights_not_downloaded", "model_loading"),
    openapi_extra=json_request(ModelBody),
    summary="Delete downloaded weights",
)
async def delete(body: Annotated[ModelBody, json_body(ModelBody)], services: ServicesDep) -> DeleteAnswer:
    """Delete weights that this service has downloaded, or has begun to; a model in memory is unloaded first."""
    await remove(body.model, services)
    return DeleteAnswer(model=body.model, deleted=True)


async def remove(model_id: str, services: Services) -> None:
    """Delete a model's downloaded weights, and unload it first.

    Raises:
        VisionError: there is no such model, it is in use, or its weights are not ours.
    """
    spec = services.pool.spec(model_id)
    services.downloads.require_ours(spec)
    async with services.deadlines.within(services.load_seconds, late):
        await services.pool.unload(model_id)
        await services.downloads.delete(spec)


def info_of(status: DownloadStatus) -> DownloadInfo:
    """A download as clients see it."""
    return DownloadInfo(
        state=status.state,
        bytes_done=status.bytes_done,
        bytes_total=status.bytes_total,
        error=status.error.detail if status.error else None,
    )
