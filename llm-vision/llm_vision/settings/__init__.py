"""Every environment variable, typed, each with a docstring."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from .group import MEBIBYTE
from .keys import KeySettings
from .models import ModelSettings
from .pictures import PictureSettings
from .requests import RequestSettings
from .server import ServerSettings
from .upstreams import UpstreamSettings
from .urls import UrlSettings


class Settings(
    PictureSettings, UrlSettings, RequestSettings, UpstreamSettings, ModelSettings, KeySettings, ServerSettings
):
    """What an operator can set. The variable's name is the field's in capitals behind `VISION_`.

    The seed's names (`LLAVA_MODEL_ID`, `LLAVA_DEVICE`, `TRANSFORMERS_CACHE`, `MANGAOCR_MODEL_PATH`)
    have no prefix.

    Raises:
        pydantic.ValidationError: a value is not of its variable's kind.
    """

    @model_validator(mode="after")
    def _limits_fit_together(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError("VISION_MIN_SIDE is above VISION_MAX_SIDE: no image would be accepted")
        if self.max_body_bytes > self.buffer_bytes:
            raise ValueError("VISION_BUFFER_MB is less than 1.4 times VISION_MAX_FILE_MB: large files would never pass")
        keys = self.key_of_upstream
        if len(keys) < len(self.upstream_keys) or "" in keys.values():
            raise ValueError("VISION_UPSTREAM_KEYS: write each key as id=key, one for an id")
        if not keys.keys() <= {server.model_id for server in self.upstreams}:
            raise ValueError("VISION_UPSTREAM_KEYS has an id that is not in VISION_UPSTREAMS")
        return self

    @property
    def max_batch_bytes(self) -> int:
        """Largest body of a batch, in bytes."""
        return max(self.max_body_bytes, min(int(self.max_batch_mb * MEBIBYTE), self.buffer_bytes))
