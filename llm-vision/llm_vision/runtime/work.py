"""What a model is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..images.raw import RawImage
from ..models.base import JsonObject


@dataclass(frozen=True)
class WorkRequest:
    """What a model is asked: a task's options and its pictures."""

    params: JsonObject
    images: tuple[RawImage, ...]
    client: str = ""
    """Who asks; clients take turns."""
    owner: str = ""
    """Of what the model remembers of it, as a tag without meaning: no other owner's request ever meets it."""
    ends_at: float = math.inf
    """When nobody waits for the answer any more, on the event loop's clock."""
    is_last_use: bool = False
    """The pictures may be given away: they are empty afterwards."""


@dataclass(frozen=True)
class WorkResult:
    """What a model answered, with the seconds that it took."""

    value: JsonObject
    queue_seconds: float
    run_seconds: float
    batch_size: int
    device: str
    device_notice: str | None = None
    """Why it did not run where it was meant to run."""


@dataclass(frozen=True)
class Chunk:
    """Some generated text, as soon as it is there."""

    text: str
    logprobs: tuple[JsonObject, ...] = ()
    """Of its tokens, where they were asked for."""


OnChunk = Callable[[Chunk], None]
