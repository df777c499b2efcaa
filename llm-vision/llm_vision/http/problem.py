"""An error as an HTTP answer: one body and one set of headers for every route."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from ..errors import VisionError
from .error_body import ErrorBody, OpenAIError

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
STATUS_OF_OPENAI = {"context_length_exceeded": 400}
"""Where clients of that API expect another status than ours."""
_CONFLICT = 409


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


def problem_response(error: VisionError, request_id: str, path: str, *, close: bool = False) -> JSONResponse:
    """The answer for an error, in the shape of the path's API; `close` ends the connection after it."""
    status, body, media_type = error.status, error_body(error, request_id).model_dump(), "application/problem+json"
    if path.startswith("/v1/"):
        status, media_type = STATUS_OF_OPENAI.get(error.code, status), "application/json"
        body["status"] = status
    elif is_ollama(path):
        body, media_type = {"error": error.detail}, "application/json"
    return JSONResponse(body, status_code=status, headers=_headers(error, close=close), media_type=media_type)


def is_ollama(path: str) -> bool:
    """Whether a path belongs to Ollama's API; /api/v1 is another one's."""
    return path.startswith("/api/") and not path.startswith("/api/v1/")


def _headers(error: VisionError, *, close: bool) -> dict[str, str]:
    headers = {}
    if error.status in (429, 503):
        headers["Retry-After"] = str(error.retry_after or 1)
    if error.status == _CONFLICT or (error.status >= 500 and not error.retryable):  # clients would, and triple the load
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if close:
        headers["Connection"] = "close"
    return headers
