"""Names of the kinds of streamed answers."""

from __future__ import annotations

NDJSON = "application/x-ndjson"
"""A JSON value a line."""
SSE = "text/event-stream"
"""Server-sent events."""
