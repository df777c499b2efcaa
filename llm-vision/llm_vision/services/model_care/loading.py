"""What routes that load, unload or delete models tell when that takes too long."""

from __future__ import annotations

from ...errors import ModelLoading

_RETRY_SECONDS = 10


def late() -> ModelLoading:
    """Other models are being loaded, one after the other."""
    return ModelLoading("models are being loaded", retry_after=_RETRY_SECONDS)
