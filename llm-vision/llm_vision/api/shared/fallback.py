"""Who may answer when the model that would be chosen cannot, and what is told of it."""

from __future__ import annotations

from enum import StrEnum


def join_notices(*notices: str | None) -> str | None:
    """What to know about an answer, from several places."""
    return " ".join(filter(None, notices)) or None


class Fallback(StrEnum):
    """What happens when the service's own choice of a model cannot answer."""

    AUTO = "auto"
    NEVER = "never"
