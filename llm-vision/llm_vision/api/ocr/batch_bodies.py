"""Bodies of /ocr/batch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ...http.error_body import ErrorBody
from .bodies import OcrAnswer


class BatchEntry(BaseModel):
    """What became of one file."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    index: int
    """Which file, in the order in which they were sent, from 0."""
    result: OcrAnswer | None = None
    """Its text; null when it could not be read."""
    error: ErrorBody | None = None
    """Why it could not be read."""
