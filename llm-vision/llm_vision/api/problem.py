"""An error as an HTTP answer: one body and one set of headers for every route."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from ..errors import VisionError
from ..schemas.errors import ErrorBody, OpenAIError

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_NEVER_RETRY = frozenset({409, 500, 502, 504})  # clients would repeat these, and triple the load


def error_body(error: VisionError, request_id: str) -> ErrorBody:
    """The body of an error."""
    server_side = "server_error" if error.status >= 500 else "invalid_request_error"
    return ErrorBody(
        type=f"urn:llm-vision:error:{error.code}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        instance=f"urn:request:{request_id}",
        code=error.code,
        request_id=request_id,
        retryable=error.retryable,
        error=OpenAIError(
            message=error.detail,
            type=_OPENAI_TYPES.get(error.status, server_side),
            param=error.param,
            code=error.code,
        ),
    )


def problem_response(error: VisionError, request_id: str, *, close: bool = False) -> JSONResponse:
    """The answer for an error; `close` ends the connection after it."""
    headers = {}
    if error.status in (429, 503):
        headers["Retry-After"] = str(error.retry_after or 1)
    if error.status in _NEVER_RETRY:
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if close:
        headers["Connection"] = "close"
    return JSONResponse(
        error_body(error, request_id).model_dump(),
        status_code=error.status,
        headers=headers,
        media_type="application/problem+json",
    )
