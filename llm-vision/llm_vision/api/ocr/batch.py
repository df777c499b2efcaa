"""POST /ocr/batch reads many crops in one request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from ...errors import DeadlineExceeded, VisionError
from ...http.bodies.multipart import Part, read_part
from ...http.limits import too_large
from ...http.media_types import NDJSON
from ...http.openapi import READING_CODES, error_responses
from ...http.problem import error_body
from ...services.reading.batches import read_in_order, retry_while_full
from ...services.reading.crops import OcrRequest, Reading
from ..shared.dependencies import Services, ServicesDep
from ..shared.request_docs import batch_body
from ..shared.uploads import read_batch
from .batch_bodies import BatchEntry
from .bodies import OcrForm
from .crop import as_answer
from .reading import make_ocr_request, read_crop

log = logging.getLogger(__name__)

router = APIRouter(tags=["OCR"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {NDJSON: {"schema": {"type": "string"}}}},
    **error_responses(*READING_CODES),
}


@router.post(
    "/ocr/batch",
    response_model=list[BatchEntry],
    responses=_ANSWERS,
    openapi_extra=batch_body(OcrForm),
    summary="Read many crops",
)
async def ocr_batch(request: Request, services: ServicesDep) -> Response | list[BatchEntry]:
    """Read every file; one that cannot be read has an `error` in its place.

    Send `Accept: application/x-ndjson` for one entry a line, each as soon as it is there.
    """
    async with AsyncExitStack() as held:
        held.enter_context(services.batches.place(request.state.client))
        files, form = await held.enter_async_context(read_batch(request, OcrForm, services.max_file_bytes))
        wanted = make_ocr_request(form, may_manage=request.state.may_manage)
        await services.ocr.choose(wanted)  # refuses at once what is wrong with the request itself
        batch = _Batch(services, files, wanted, request.state.client, request.state.request_id)
        entries = read_in_order(len(files), batch.read)
        if NDJSON not in request.headers.get("accept", ""):
            return [entry async for entry in entries]
        return StreamingResponse(_stream_lines(entries, held.pop_all()), media_type=NDJSON)


async def _stream_lines(entries: AsyncIterator[BatchEntry], held: AsyncExitStack) -> AsyncIterator[str]:
    async with held:
        async for entry in entries:
            yield entry.model_dump_json() + "\n"


class _Batch:
    """The files of a request while they are read."""

    def __init__(self, services: Services, files: list[Part], wanted: OcrRequest, client: str, request_id: str) -> None:
        self._services = services
        self._files = files
        self._wanted = wanted
        self._client = client
        self._request_id = request_id
        self._ends_at = asyncio.get_running_loop().time() + services.batch_seconds

    async def read(self, index: int) -> BatchEntry:
        """What becomes of one file; never raises for what is wrong with it."""
        try:
            async with asyncio.timeout_at(self._ends_at):
                reading = await retry_while_full(lambda: self._read_file(self._files[index]))
        except TimeoutError:
            seconds = self._services.batch_seconds
            return self._make_failure(index, DeadlineExceeded(f"the batch took longer than {seconds:g} s"))
        except VisionError as error:
            return self._make_failure(index, error)
        return BatchEntry(index=index, result=as_answer(reading))

    def _make_failure(self, index: int, error: VisionError) -> BatchEntry:
        self._services.metrics.count_error(error.code)
        log.info("file %d of a batch was not read", index, extra={"code": error.code})
        return BatchEntry(index=index, error=error_body(error, self._request_id))

    async def _read_file(self, part: Part) -> Reading:
        if part.is_too_large:
            raise too_large(self._services.max_file_bytes)
        return await read_crop(await read_part(part), self._services, self._client, self._wanted)
