"""Who may answer when the model that would be chosen cannot."""

from __future__ import annotations

from enum import StrEnum


class Fallback(StrEnum):
    """What happens when the service's own choice of a model cannot answer."""

    AUTO = "auto"
    NEVER = "never"
