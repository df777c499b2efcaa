"""The OpenAPI document: FastAPI's, with the error body that every route shares, and error answers by code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import registry
from .error_body import ErrorBody
from .problem import STATUS_OF_OPENAI

# What the gate can answer on any route.
_EVERYWHERE = (
    "invalid_host", "missing_credentials", "invalid_credentials", "forbidden", "uri_too_long",
    "headers_too_large", "malformed_http", "http_version_not_supported", "unsupported_encoding", "internal_error",
    "shutting_down",
)  # fmt: skip
# What a JSON body can be wrong in.
_JSON_CODES = (
    "malformed_json", "invalid_encoding", "json_too_deep", "duplicate_key", "invalid_request", "invalid_parameter",
    "invalid_text", "unsupported_media_type", "payload_too_large", "request_timeout",
)  # fmt: skip
BODY_CODES = (*_JSON_CODES, "unknown_parameter", "model_not_found", "rate_limited")
# What a picture can be wrong in.
_IMAGE_CODES = (
    "unsupported_image_format", "invalid_image", "image_too_large", "image_bad_dimensions", "image_too_small",
    "image_too_complex",
)  # fmt: skip
# What can go wrong with a model.
_MODEL_CODES = (
    "model_not_found", "unsupported_task", "queue_full", "rate_limited", "model_loading", "model_not_ready",
    "model_load_failed", "model_too_large", "insufficient_memory", "worker_crashed", "inference_failed",
    "deadline_exceeded", "machine_busy",
)  # fmt: skip
# What a route that takes a picture and runs a model can answer.
PICTURE_CODES = (
    *_JSON_CODES, "malformed_multipart", "multipart_limits", "file_required", "too_many_files", "storage_full",
    "invalid_data_url", *_IMAGE_CODES, *_MODEL_CODES,
)  # fmt: skip
READING_CODES = (*PICTURE_CODES, "unsupported_language")
# What a route that fetches a picture by URL can answer.
URL_CODES = (
    "url_images_disabled", "url_scheme_not_allowed", "invalid_url", "url_not_allowed", "too_many_redirects",
    "image_fetch_failed", "image_fetch_too_large", "image_upstream_error", "image_fetch_timeout",
)  # fmt: skip
# What a route that converses can answer.
CHAT_CODES = (
    *_JSON_CODES, "invalid_data_url", "too_many_files", *_IMAGE_CODES, *_MODEL_CODES, "storage_full", *URL_CODES,
    "prompt_empty", "prompt_too_long", "context_length_exceeded", "invalid_tool_schema",
    "upstream_rejected", "upstream_invalid", "upstream_unavailable",
)  # fmt: skip
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_COMPONENT = "#/components/schemas/{model}"
_ERROR = {"$ref": _COMPONENT.format(model=ErrorBody.__name__)}


def openai_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The same for the routes under /v1."""
    return _responses(codes, "application/json", _ERROR, STATUS_OF_OPENAI)


def ollama_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The same for the routes of Ollama's API."""
    body = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return _responses(codes, "application/json", body, {})


def error_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these codes and those of the gate, grouped by status."""
    return _responses(codes, "application/problem+json", _ERROR, {})


def _responses(
    codes: Sequence[str], media_type: str, body: Mapping[str, Any], statuses: Mapping[str, int]
) -> dict[int | str, dict[str, Any]]:
    errors = registry()
    by_status: dict[int, list[str]] = {}
    for code in (*codes, *_EVERYWHERE):
        by_status.setdefault(statuses.get(code, errors[code].status), []).append(code)
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in grouped),
            "content": {media_type: {"schema": body}},
        }
        for status, grouped in sorted(by_status.items())
    }


def add_errors_and_keys(openapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """FastAPI's `app.openapi` with the components that `error_responses` refers to, and the two ways to send a key."""

    def document() -> dict[str, Any]:
        whole = openapi()
        body = ErrorBody.model_json_schema(ref_template=_COMPONENT)
        whole["components"]["schemas"] |= {**body.pop("$defs"), ErrorBody.__name__: body}
        whole["components"]["securitySchemes"] = _KEYS
        whole["security"] = [{}, *({name: []} for name in _KEYS)]  # keys are asked for only where some are set
        return whole

    return document
