"""Settings of requests: how many wait, and how long each may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .group import SettingsGroup


class RequestSettings(SettingsGroup):
    """Variables under the heading Requests."""

    queue_size: Annotated[int, Field(ge=0, le=10_000)] = 32
    """Requests that may wait for one model; one more is refused with 429."""
    queue_seconds: Annotated[float, Field(gt=0)] = 30
    """Longest wait in the queue of a loaded model, or for a place to fetch a picture by URL."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=100)] = 3
    """Longest wait for a request that is still being decoded to join a batch; a lone request never waits."""
    ocr_seconds: Annotated[float, Field(gt=0)] = 60
    """Deadline of an OCR request."""
    page_seconds: Annotated[float, Field(gt=0)] = 180
    """Deadline of a page."""
    batch_seconds: Annotated[float, Field(gt=0)] = 600
    """Deadline of a batch; what is not read by then has an error in its place."""
    analyze_seconds: Annotated[float, Field(gt=0)] = 300
    """Deadline of an analysis."""
    max_prompt_chars: Annotated[int, Field(ge=1)] = 16_384
    """Longest prompt, in characters."""
    max_pictures: Annotated[int, Field(ge=1, le=64)] = 8
    """Most pictures in one chat request, those of earlier messages included; Frigate sends up to 10."""
