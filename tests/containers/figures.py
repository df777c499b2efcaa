"""What was measured, for the end of `make docker-test`."""

from __future__ import annotations

measured: dict[str, str] = {}
