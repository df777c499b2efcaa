"""Settings of pictures: how large they may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .group import MEBIBYTE, SettingsGroup


class PictureSettings(SettingsGroup):
    """Variables under the heading Pictures."""

    max_file_mb: Annotated[float, Field(gt=0, le=1024)] = 20
    """Maximum size of an image file, in MiB."""
    max_batch_mb: Annotated[float, Field(gt=0, le=4096)] = 200
    """Maximum size of all files in a batch together, in MiB; at most VISION_BUFFER_MB."""
    max_megapixels: Annotated[float, Field(gt=0, le=350)] = 50
    """Maximum size of an image, in millions of pixels."""
    max_side: Annotated[int, Field(ge=4)] = 32_768
    """Maximum side length of an image, in pixels."""
    max_ratio: Annotated[float, Field(ge=1)] = 200
    """Maximum aspect ratio of an image."""
    min_side: Annotated[int, Field(ge=1)] = 4
    """Minimum side length of an image, in pixels."""
    allow_tiff: bool = False
    """Whether TIFF images are accepted."""

    @property
    def max_file_bytes(self) -> int:
        """Largest picture file, in bytes."""
        return int(self.max_file_mb * MEBIBYTE)

    @property
    def max_body_bytes(self) -> int:
        """Largest request body: base64 makes a file a third larger, and other fields come with it."""
        return int(self.max_file_bytes * 1.4)
