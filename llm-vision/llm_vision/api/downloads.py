"""/models/download and /models/delete: weights onto their volume, and off it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from ..errors import ModelLoading
from ..runtime.downloads import DownloadStatus
from ..schemas.models import DeleteAnswer, DownloadInfo, DownloadLine, ModelBody
from .dependencies import Services, ServicesDep
from .forms import json_request
from .json_body import json_body
from .openapi import BODY_CODES, error_responses

router = APIRouter(prefix="/models", tags=["Models"])
_LINES = "application/x-ndjson"
_RETRY_SECONDS = 10


@router.post(
    "/download",
    responses={
        **error_responses(*BODY_CODES, "model_load_failed", "storage_full"),
        200: {"content": {_LINES: {"schema": DownloadLine.model_json_schema()}}},
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
    return StreamingResponse(_lines(body.model, services), media_type=_LINES)


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
    spec = services.pool.spec(body.model)
    services.downloads.require_ours(spec)
    async with services.deadlines.within(services.load_seconds, _late):
        await services.pool.unload(body.model)
        await services.downloads.delete(spec)
    return DeleteAnswer(model=body.model, deleted=True)


def info_of(status: DownloadStatus) -> DownloadInfo:
    """A download as clients see it."""
    return DownloadInfo(
        state=status.state,
        bytes_done=status.bytes_done,
        bytes_total=status.bytes_total,
        error=status.error.detail if status.error else None,
    )


def _late() -> ModelLoading:
    return ModelLoading("models are being loaded", retry_after=_RETRY_SECONDS)
