"""How error answers appear in the OpenAPI file."""

from __future__ import annotations

from typing import Any

from ..errors import registry
from ..schemas.errors import ErrorBody

# What the gate can answer on any route.
_EVERYWHERE = (
    "invalid_host", "missing_credentials", "invalid_credentials", "forbidden", "uri_too_long",
    "headers_too_large", "internal_error", "shutting_down",
)  # fmt: skip


def error_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these codes and those of the gate, grouped by status."""
    errors = registry()
    by_status: dict[int, list[str]] = {}
    for code in (*codes, *_EVERYWHERE):
        by_status.setdefault(errors[code].status, []).append(code)
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in grouped),
            "content": {
                "application/problem+json": {
                    "schema": ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
                }
            },
        }
        for status, grouped in sorted(by_status.items())
    }
