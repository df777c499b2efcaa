"""What goes wrong with another server, as one of our errors, and whether to try again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx2

from ....errors import (
    ContextLengthExceeded,
    QueueFull,
    UpstreamInvalid,
    UpstreamRejected,
    UpstreamUnavailable,
    VisionError,
)

RETRY_AFTER = 10  # seconds, where the server says nothing
MOST_RETRY_AFTER = 3600
SHORT_PAUSE = 2  # seconds that are waited here rather than by the client
_TOO_LONG = re.compile(r"context.?(length|size|window)|maximum model length", re.IGNORECASE)
"""How OpenAI, vLLM, SGLang, llama.cpp and Ollama say it: there is no code in common."""


class Failed(Exception):
    """A request that the other server did not answer.

    Args:
        error: what clients are told.
        again: whether to try once more; a number is the seconds to wait before.
        may_be_an_option: whether it may be about an option that this server does not know.
    """

    def __init__(self, error: VisionError, *, again: bool | float = False, may_be_an_option: bool = False) -> None:
        super().__init__(f"{error.code}: {error.detail}")
        self.error = error
        self.again = again
        self.may_be_an_option = may_be_an_option


def pause_before_next(error: Exception) -> bool | float:
    """Whether to try once more, or after how many seconds: what `stamina` asks."""
    return error.again if isinstance(error, Failed) else False


def refused_by_status(status: int, headers: Mapping[str, str], body: str) -> Failed:
    """What a status other than 200 means, or 200 with a compressed body; nothing of the body is told to anybody."""
    told = headers.get("retry-after", "")
    wait = min(MOST_RETRY_AFTER, max(1, int(told))) if re.fullmatch(r"\d{1,9}", told) else None  # no dates
    if status == httpx2.codes.OK:
        return not_understood()
    is_short = wait is not None and wait <= SHORT_PAUSE
    if is_too_long(body):
        return Failed(too_long())
    if status == 429:
        full = QueueFull("the server behind this model is at its limit of requests", retry_after=wait or RETRY_AFTER)
        return Failed(full, again=float(wait or 0) if is_short else False)
    if status >= 500:
        detail = f"the server behind this model fails with status {status}"
        is_passing = status in (502, 503) and (wait is None or is_short)
        return Failed(UpstreamUnavailable(detail, retry_after=wait or RETRY_AFTER), again=is_passing)
    return Failed(UpstreamRejected(_what_is_wrong(status)), may_be_an_option=status in (400, 422))


def _what_is_wrong(status: int) -> str:
    if status in (401, 403):
        return "the server behind this model refuses the key: VISION_UPSTREAM_KEYS is wrong or lacks one for it"
    if status == 404:
        return "the server behind this model has no such address or model: VISION_UPSTREAMS is wrong"
    if 300 <= status < 400:
        return "the server behind this model leads elsewhere: VISION_UPSTREAMS must name the final address"
    return f"the server behind this model does not take this request (status {status})"


def refused_in_stream(error: Any) -> Failed:
    """What an error among the chunks means: servers that have begun with 200 can tell it nowhere else."""
    if is_too_long(str(error)):
        return Failed(too_long())
    return Failed(UpstreamUnavailable("the server behind this model failed in its answer", retry_after=RETRY_AFTER))


def not_reached(error: httpx2.RequestError) -> Failed:
    """What a broken connection means; only one that never came about is tried again."""
    is_connecting = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    how = "cannot be reached" if is_connecting else "broke the connection off"
    return Failed(
        UpstreamUnavailable(f"the server behind this model {how}", retry_after=RETRY_AFTER), again=is_connecting
    )


def broken_off() -> Failed:
    """The stream ended before the answer did."""
    return Failed(UpstreamUnavailable("the server behind this model stopped in its answer", retry_after=RETRY_AFTER))


def not_understood() -> Failed:
    """The server speaks something else, or says what cannot be."""
    return Failed(UpstreamInvalid("the server behind this model does not answer as OpenAI-compatible servers do"))


def without_end(most_bytes: int) -> Failed:
    """It sends more than an answer of so many tokens can have."""
    return Failed(UpstreamInvalid(f"the server behind this model sends more than {most_bytes} bytes for one answer"))


def not_offered() -> Failed:
    """It calls a tool that it was not told of."""
    return Failed(UpstreamInvalid("the server behind this model calls a tool that the request does not offer"))


def too_slow() -> Failed:
    """It was silent for too long."""
    return Failed(UpstreamUnavailable("the server behind this model is silent for too long", retry_after=RETRY_AFTER))


def too_long() -> VisionError:
    """The request does not fit."""
    return ContextLengthExceeded("prompt, pictures and answer are together longer than the model's context")


def is_too_long(text: str) -> bool:
    """Whether a server complains of the request's length."""
    return _TOO_LONG.search(text) is not None
