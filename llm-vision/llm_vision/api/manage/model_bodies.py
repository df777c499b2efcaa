"""Bodies of /models."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ..shared.chat_bodies import ONE_YEAR


def _check_keep_alive(seconds: float) -> float:
    if seconds < 0 and seconds != -1:
        raise ValueError("seconds from 0, or -1 for ever")
    return seconds


KeepAlive = Annotated[float, Field(ge=-1, le=ONE_YEAR, allow_inf_nan=False), AfterValidator(_check_keep_alive)]


class DownloadInfo(BaseModel):
    """How far the download of a model's weights is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    state: str
    """starting, waiting (for another service on the volume), downloading, converting, done or failed."""
    bytes_done: int
    bytes_total: int | None
    """Null until the hub has told."""
    error: str | None


class DownloadLine(DownloadInfo):
    """A line of the answer of /models/download."""

    model: str


class ModelInfo(BaseModel):
    """A model, and whether it is in memory."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    title: str
    tasks: list[str]
    license: str
    embedded: bool
    """Its weights are part of the installation: nothing is downloaded."""
    aliases: list[str]
    """Other names that requests may use for it."""
    chosen_because: str | None
    """Why it answers /analyze_image when a request names no model; null for all other models."""
    weights: str
    """present, missing, or partial: a download has begun, or files have gone."""
    weights_bytes: int
    """What its files take now."""
    download_bytes: int | None
    """About what they take on the hub; null where nothing is downloaded."""
    does_not_fit: str | None
    """Why a model whose weights are missing could not run here, with what it needs and what there is."""
    state: str
    """not_loaded, loading, ready or failed."""
    in_use: int
    """Requests that use it now."""
    queued: int
    """Requests that wait for it now."""
    device: str | None
    quantization: str | None
    """How many bits its weights have in memory: none (16 or 32), 8bit or 4bit."""
    device_notice: str | None
    """Why it does not run where it was meant to."""
    memory_bytes: int
    """Resident memory of its process; the expected figure while it is not loaded."""
    expires_in: float | None
    """Seconds until it is unloaded if nobody uses it."""
    last_error: str | None
    download: DownloadInfo | None
    """Null when nothing was downloaded since the service started."""


class ModelList(BaseModel):
    """All models."""

    models: list[ModelInfo]


class LoadBody(BaseModel):
    """Which model to load."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str = Field(max_length=256)
    """Model id."""
    keep_alive: KeepAlive | None = None
    """Seconds that it stays in memory when idle; -1 for ever."""


class ModelBody(BaseModel):
    """Which model to unload, to download or to delete."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str = Field(max_length=256)
    """Model id."""


class UnloadAnswer(BaseModel):
    """Whether a model was in memory."""

    model: str
    unloaded: bool


class DeleteAnswer(BaseModel):
    """Weights are gone."""

    model: str
    deleted: bool
