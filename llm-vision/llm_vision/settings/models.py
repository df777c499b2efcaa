"""Settings of models: which ones, where they run and where their weights are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import NoDecode

from .group import CommaList, SettingsGroup, parts_of

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")]


class ModelSettings(SettingsGroup):
    """Variables under the heading Models."""

    ocr_engine: str = "auto"
    """Model id that answers /ocr when a request names no engine; `auto`: MangaOCR when its weights are there."""
    preload: CommaList = ()
    """Model ids to load at start, comma separated; the service is ready once each is loaded,
    being downloaded or has failed."""
    keep_alive: Annotated[float, Field(ge=-1)] = 300
    """Seconds that an idle model stays in memory; -1 for ever, 0 unloads at once."""
    max_loaded_models: Annotated[int, Field(ge=1, le=64)] = 4
    """Most models in memory at the same time; the longest idle one makes room."""
    memory_limit_mb: Annotated[int, Field(ge=64)] | None = None
    """Memory that all models together may use, in MiB. Empty: 80 % of the container's or machine's."""
    download: Literal["auto", "never"] = "auto"
    """Whether missing weights are downloaded when they are first needed: `auto` or `never`."""
    hf_hub_offline: bool = Field(False, validation_alias=AliasChoices("HF_HUB_OFFLINE"))
    """Whether the Hugging Face hub is never called; then nothing is downloaded, not even when it is asked for."""
    revisions: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """Commits of the hub at which models' weights are downloaded, comma separated: `id=commit`, 40 hex digits."""
    load_seconds: Annotated[float, Field(gt=0)] = 600
    """Longest time that loading a model into memory may take."""
    failed_load_seconds: Annotated[float, Field(ge=0)] = 30
    """After a failed load, how long requests are answered from memory before the next try."""
    device: Device = "auto"
    """Where models run: `auto` takes a GPU when there is one and the model can use it; or `cpu`, `cuda`, `cuda:1`."""
    cpu_fallback: bool = True
    """Whether a model whose GPU is missing, too small or broken runs on the CPU."""
    llava_model_id: str = Field("auto", validation_alias=AliasChoices("LLAVA_MODEL_ID"))
    """Vision-language model that answers /analyze_image when a request names none; `auto` takes what fits here."""
    llava_device: Device = Field("auto", validation_alias=AliasChoices("LLAVA_DEVICE"))
    """Where the vision-language model runs: `auto`, `cpu`, `cuda` or one GPU, `cuda:1`."""
    llava_quantization: Literal["auto", "none", "8bit", "4bit"] = Field(
        "auto", validation_alias=AliasChoices("LLAVA_QUANTIZATION")
    )
    """Bits of its weights: `none` leaves 16; `auto` takes 4 where 16 do not fit or, on a CPU, would be slow."""
    transformers_cache: Path = Field(Path("data/llava_models"), validation_alias=AliasChoices("TRANSFORMERS_CACHE"))
    """Folder (volume) of vision-language weights; worker processes get it as the hub's cache. With Docker Compose it
    does nothing: mount the folder instead."""
    mangaocr_model_path: Path = Field(
        Path("data/mangaocr_models"), validation_alias=AliasChoices("MANGAOCR_MODEL_PATH")
    )
    """Folder (volume) of MangaOCR weights, or the folder above it. With Docker Compose it does nothing: mount the
    folder instead."""

    @field_validator("revisions", mode="before")
    @classmethod
    def _read_revisions(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.rpartition("=") for part in parts_of(value)]
        if not all(name and re.fullmatch(r"[0-9a-f]{40}", commit) for name, _, commit in pairs):
            raise ValueError("write each pin as id=commit; a commit has 40 hexadecimal digits, a branch is no pin")
        commits = {name: commit for name, _, commit in pairs}
        if len(commits) < len(pairs):
            raise ValueError("a model is pinned twice")
        return commits

    @field_validator("keep_alive")
    @classmethod
    def _keep_alive_is_a_time_or_for_ever(cls, seconds: float) -> float:
        if seconds < 0 and seconds != -1:
            raise ValueError("seconds from 0, or -1 for ever")
        return seconds
