"""OpenAI's chat completions as JSON: what a request becomes, and what a stream of chunks says."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from ...base import JsonObject
from ...decoding.confidence import mean_probability
from ...tasks.chat import Converse, JsonFormat, PicturePlace, Reply, ResponseFormat, TokenUsage, ToolsFormat, Turn
from ...tool_text import AUTO, REQUIRED
from .calls import MOST_CALLS, CallPiece, Calls
from .errors import not_understood, refused_in_stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

JPEG_QUALITY = 95
"""With colours at full resolution: to the eye the picture itself, encoded 35 times as fast as a PNG of 12 Mpx and a
third of its size, which the server downscales in any case."""
CONFIDENCE = {"logprobs": True, "top_logprobs": 1}
"""What asks for log-probabilities; llama.cpp takes the number of alternatives for that of all, so it is not 0."""
_MOST_TOKENS = 2**31 - 1
_CONTROL_CHARACTERS = dict.fromkeys({*range(32), 127} - set(map(ord, "\t\n\r")), "\ufffd")
"""Those that clients may not send either; an answer shows in their place that there was one."""

SALT = "cache_salt"
"""What lets vLLM, and others that know it, reuse what they have read for the same client only."""


def chat_body(model: str, request: Converse, images: Sequence[NDArray[np.uint8]]) -> JsonObject:
    """The body of a streamed request.

    Args:
        model: its name on the server.
        request: what is asked.
        images: RGB pictures of shape (height, width, 3), one for each place of a picture, in order.

    Raises:
        ValueError: there are more or fewer pictures than places for them.
    """
    places = sum(part is PicturePlace.HERE for turn in request.turns for part in turn.parts)
    if places != len(images):
        raise ValueError(f"{len(images)} pictures for {places} places")
    uris = map(data_uri, images)
    sampling = request.sampling
    options = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "max_tokens": sampling.max_tokens,
    }
    return {
        "model": model,
        "messages": [{"role": turn.role, "content": _content(turn, uris)} for turn in request.turns],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: value for name, value in options.items() if value is not None},
        **_format_fields(request.response_format),
    }


def _format_fields(wanted: ResponseFormat | None) -> JsonObject:
    """What an answer must look like, in the server's fields; what tools are for stands in the messages."""
    if wanted is None:
        return {}
    if isinstance(wanted, JsonFormat):
        return {"response_format": _response_format(wanted)}
    nothing = {"type": "object", "properties": {}}
    functions = [{"name": tool["name"], "parameters": tool["parameters"] or nothing} for tool in wanted.tools]
    choice = wanted.choice
    return {
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": choice if choice in (AUTO, REQUIRED) else {"type": "function", "function": {"name": choice}},
        "parallel_tool_calls": wanted.parallel,
        **_format_fields(wanted.otherwise),
    }


def _response_format(wanted: JsonFormat) -> JsonObject:
    if wanted.schema is None:
        return wanted.as_json()
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted.schema, "strict": True}}


def _content(turn: Turn, uris: Iterator[str]) -> str | list[JsonObject]:
    """Text alone as one text: not every server takes parts in the turns of system and assistant."""
    if all(isinstance(part, str) for part in turn.parts):
        return "\n".join(part for part in turn.parts if isinstance(part, str))
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": next(uris)}}
        for part in turn.parts
    ]


def data_uri(image: NDArray[np.uint8]) -> str:
    """A picture as the JPEG in a `data:` address."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getbuffer()).decode()}"


class _Delta(BaseModel):
    content: str | None = None
    tool_calls: Annotated[list[CallPiece], Field(max_length=MOST_CALLS)] | None = None


class _Token(BaseModel):
    logprob: float = Field(le=1.0, allow_inf_nan=False)
    """Above 0 only by rounding."""


class _Logprobs(BaseModel):
    content: list[_Token] | None = None


class _Choice(BaseModel):
    index: Literal[0] = 0
    delta: _Delta = _Delta()
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0, le=_MOST_TOKENS)
    completion_tokens: int = Field(ge=0, le=_MOST_TOKENS)


class _Chunk(BaseModel):
    """One event of a stream; what it has besides is ignored."""

    choices: list[_Choice] = Field([], max_length=1)
    usage: _Usage | None = None
    object: str | None = None
    message: str | None = None
    error: Any = None

    @property
    def complaint(self) -> Any:
        """The error that it is, in one of two shapes; None when it is none."""
        return self.message or "" if self.object == "error" else self.error


class Answer:
    """What the chunks of one stream have said so far.

    Args:
        wanted: what the answer must look like; None for any words.
    """

    def __init__(self, wanted: ResponseFormat | None = None) -> None:
        offered = {tool["name"] for tool in wanted.tools} if isinstance(wanted, ToolsFormat) else ()
        self._pieces: list[str] = []
        self._calls = Calls(offered)
        self._logprobs: list[float] = []
        self._usage: _Usage | None = None
        self._finish_reason: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the model came to its end."""
        return self._finish_reason is not None

    def add(self, data: str) -> str:
        """Take a chunk in, as JSON; the text that is new.

        Raises:
            Failed: it is none, or the error of the server.
        """
        try:
            chunk = _Chunk.model_validate_json(data)
        except ValidationError:
            raise not_understood() from None
        if chunk.complaint is not None:
            raise refused_in_stream(chunk.complaint)
        self._usage = chunk.usage or self._usage
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self._finish_reason = choice.finish_reason or self._finish_reason
        if choice.logprobs and choice.logprobs.content:
            self._logprobs += [token.logprob for token in choice.logprobs.content]
        self._calls.add(choice.delta.tool_calls or ())
        text = (choice.delta.content or "").translate(_CONTROL_CHARACTERS)
        self._pieces.append(text)
        return text

    def result(self) -> JsonObject:
        """The result of a `chat` task; calls are text, as those of our own models are.

        Raises:
            Failed: a call is of a tool that was not offered, or its arguments are no JSON object.
        """
        usage, is_cut_off = self._usage, self._finish_reason == "length"
        return Reply(
            text=self._calls.as_text() if self._calls and not is_cut_off else "".join(self._pieces),
            confidence=self._confidence(),
            finish_reason="length" if is_cut_off else "stop",
            usage=TokenUsage(usage.prompt_tokens, usage.completion_tokens) if usage else None,
        ).as_json()

    def _confidence(self) -> float | None:
        """The mean probability of the tokens; None where the server tells none."""
        return mean_probability(self._logprobs) if self._logprobs else None
