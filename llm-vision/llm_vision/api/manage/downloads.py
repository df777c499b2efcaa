"""/models/download and /models/delete: weights onto their volume, and off it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from ...http.bodies.json_body import json_body
from ...http.media_types import NDJSON
from ...http.openapi import BODY_CODES, error_responses
from ...services.model_care.care import DownloadStatus
from ..shared.dependencies import Services, ServicesDep
from ..shared.request_docs import READER, json_request
from .model_bodies import DeleteAnswer, DownloadInfo, DownloadLine, ModelBody

router = APIRouter(prefix="/models", tags=["Models"])


@router.post(
    "/download",
    responses={
        **error_responses(*BODY_CODES, "model_load_failed", "model_too_large", "storage_full"),
        200: {"content": {NDJSON: {"schema": DownloadLine.model_json_schema()}}},
    },
    response_class=StreamingResponse,
    openapi_extra=json_request(ModelBody, {"model": READER}),
    summary="Download a model's weights",
)
async def download(body: Annotated[ModelBody, json_body(ModelBody)], services: ServicesDep) -> StreamingResponse:
    """Download weights onto their volume; tells how far it is, a line of JSON at a time, until it is done or failed.

    The download goes on when the client leaves.
    """
    await services.models.begin_download(body.model)
    return StreamingResponse(_stream_lines(body.model, services), media_type=NDJSON)


async def _stream_lines(model: str, services: Services) -> AsyncIterator[str]:
    async for status in services.models.follow_download(model):
        yield DownloadLine(model=model, **as_info(status).model_dump()).model_dump_json() + "\n"


@router.post(
    "/delete",
    responses=error_responses(*BODY_CODES, "model_in_use", "weights_not_downloaded", "model_loading"),
    openapi_extra=json_request(ModelBody, {"model": READER}),
    summary="Delete downloaded weights",
)
async def delete(body: Annotated[ModelBody, json_body(ModelBody)], services: ServicesDep) -> DeleteAnswer:
    """Delete weights that this service has downloaded, or has begun to; a model in memory is unloaded first."""
    await services.models.delete(body.model)
    return DeleteAnswer(model=body.model, deleted=True)


def as_info(status: DownloadStatus) -> DownloadInfo:
    """A download as clients see it."""
    return DownloadInfo(
        state=status.state,
        bytes_done=status.bytes_done,
        bytes_total=status.bytes_total,
        error=status.error.detail if status.error else None,
    )
