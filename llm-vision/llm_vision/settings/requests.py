"""Settings of requests: how many wait, and how long each may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .group import SettingsGroup


class RequestSettings(SettingsGroup):
    """Variables under the heading Requests."""

    queue_size: Annotated[int, Field(ge=0, le=10_000)] = 32
    """Requests that may wait for one model; further ones get 429."""
    queue_seconds: Annotated[float, Field(gt=0)] = 30
    """Time limit for waiting in a loaded model's queue, or for a slot to fetch an image by URL, in seconds."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=100)] = 3
    """Milliseconds that a batch waits for a request that is still being decoded; a single request never waits."""
    ocr_seconds: Annotated[float, Field(gt=0)] = 60
    """Deadline of an OCR request, in seconds."""
    page_seconds: Annotated[float, Field(gt=0)] = 180
    """Deadline of a page, in seconds."""
    batch_seconds: Annotated[float, Field(gt=0)] = 600
    """Deadline of a batch, in seconds; files not read by then get an error."""
    ocr_max_lines: Annotated[int, Field(ge=1, le=5000)] = 1000
    """Maximum number of lines read per image; if there are more, the response is marked `truncated`."""
    analyze_seconds: Annotated[float, Field(gt=0)] = 300
    """Deadline of an analysis, in seconds."""
    max_prompt_chars: Annotated[int, Field(ge=1)] = 16_384
    """Maximum length of a prompt, in characters."""
    max_pictures: Annotated[int, Field(ge=1, le=64)] = 8
    """Maximum number of images in one chat request, including earlier messages; Frigate sends up to 10."""
