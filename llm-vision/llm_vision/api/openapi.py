"""The OpenAPI document: FastAPI's, with the error body that every route shares, and error answers by code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import registry
from ..schemas.errors import ErrorBody

# What the gate can answer on any route.
_EVERYWHERE = (
    "invalid_host", "missing_credentials", "invalid_credentials", "forbidden", "uri_too_long",
    "headers_too_large", "internal_error", "shutting_down",
)  # fmt: skip
_COMPONENT = "#/components/schemas/{model}"


def error_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these codes and those of the gate, grouped by status."""
    errors = registry()
    by_status: dict[int, list[str]] = {}
    for code in (*codes, *_EVERYWHERE):
        by_status.setdefault(errors[code].status, []).append(code)
    body = {"$ref": _COMPONENT.format(model=ErrorBody.__name__)}
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in grouped),
            "content": {"application/problem+json": {"schema": body}},
        }
        for status, grouped in sorted(by_status.items())
    }


def with_error_body(openapi: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """FastAPI's `app.openapi` with the components that `error_responses` refers to."""

    def document() -> dict[str, Any]:
        found = openapi()
        body = ErrorBody.model_json_schema(ref_template=_COMPONENT)
        found["components"]["schemas"] |= {**body.pop("$defs"), ErrorBody.__name__: body}
        return found

    return document
