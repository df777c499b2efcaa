"""Settings of models: which ones, where they run and where their weights are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, field_validator
from pydantic_settings import NoDecode

from .group import CommaList, SettingsGroup, parts_of, read_device

Device = Annotated[str, AfterValidator(read_device)]


def find_data_folder() -> Path:
    """Where weights are when nothing is said; whichever folder the service is started in."""
    project = Path(__file__).parents[3]
    if (project / "docker-compose.yml").is_file():
        return project / "data"
    return Path.home() / ".local" / "share" / "llm-vision"


class ModelSettings(SettingsGroup):
    """Variables under the heading Models."""

    ocr_engine: str = "auto"
    """Id of the model that answers /ocr when a request names no engine; `auto`: MangaOCR if its weights are present."""
    preload: CommaList = ()
    """Ids of models to load at startup, comma separated; the service is ready once each one is loaded, is downloading
    or has failed."""
    keep_alive: Annotated[float, Field(allow_inf_nan=False)] = 300
    """How long an idle model stays in memory: seconds, or `5m`; -1: forever, 0: unload at once."""
    max_loaded_models: Annotated[int, Field(ge=1, le=64)] = 4
    """Maximum number of models in memory; the one idle longest is unloaded to make room."""
    memory_limit_mb: Annotated[int, Field(ge=64)] | None = None
    """Memory limit for all models together, in MiB. Empty: 80 % of the container's or machine's."""
    download: Literal["auto", "never"] = "auto"
    """`auto`: the service downloads default models when first needed, and others for those who may manage models.
    `never`: only the command `llm-vision models download` does."""
    hf_hub_offline: bool = Field(False, validation_alias=AliasChoices("HF_HUB_OFFLINE"))
    """Whether to never contact the Hugging Face hub; `llm-vision models download` fails too."""
    revisions: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """Hub commits to download models' weights from, comma separated: `id=commit`, 40 hex digits."""
    load_seconds: Annotated[float, Field(gt=0)] = 600
    """Time limit for loading a model into memory, in seconds."""
    failed_load_seconds: Annotated[float, Field(ge=0)] = 30
    """Seconds before a failed load is retried; until then, requests get the same error."""
    device: Device = "auto"
    """Device for models: `auto` uses a GPU if there is one and the model supports it; or `cpu`, `cuda`, `cuda:1`."""
    cpu_fallback: bool = True
    """Whether a model runs on the CPU when its GPU is missing, too small or broken."""
    llava_model_id: str = Field("auto", validation_alias=AliasChoices("LLAVA_MODEL_ID"))
    """Vision-language model that answers /analyze_image when a request names none; `auto` picks one that fits."""
    llava_device: Device = Field("auto", validation_alias=AliasChoices("LLAVA_DEVICE"))
    """Device for the vision-language model: `auto`, `cpu`, `cuda` or a single GPU, `cuda:1`."""
    llava_quantization: Literal["auto", "none", "8bit", "4bit"] = Field(
        "auto", validation_alias=AliasChoices("LLAVA_QUANTIZATION")
    )
    """Precision of its weights: `none` (16 bits), `8bit`, `4bit`; `auto`: 4 bits if 16 do not fit or are slow on a
    CPU."""
    data: Path = Field(default_factory=find_data_folder)
    """Folder of all weights. Empty: `data` beside docker-compose.yml; if only the package is installed,
    `~/.local/share/llm-vision`."""
    transformers_cache: Path = Field(
        default_factory=lambda known: known["data"] / "llava_models",
        validation_alias=AliasChoices("TRANSFORMERS_CACHE"),
    )
    """Folder (volume) of vision-language weights, also the hub cache of worker processes. Empty: `llava_models` in
    `VISION_DATA`. Ignored with Docker Compose: set `VISION_DATA` instead."""
    mangaocr_model_path: Path = Field(
        default_factory=lambda known: known["data"] / "mangaocr_models",
        validation_alias=AliasChoices("MANGAOCR_MODEL_PATH"),
    )
    """Folder (volume) of MangaOCR weights, or its parent folder. Empty: `mangaocr_models` in `VISION_DATA`. Ignored
    with Docker Compose: set `VISION_DATA` instead."""

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
            raise ValueError("it must be seconds from 0, a duration as 5m, or -1 for ever")
        return seconds
