"""Bodies of requests to OpenAI's API, as far as it is spoken here: types at their word, other fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..shared.chat_bodies import (
    MOST_MESSAGES,
    MOST_STOPS,
    MOST_TOKENS,
    MOST_TOOLS,
    Function,
    FunctionName,
    Stop,
    StrictPart,
)

MOST_PARTS = 64


class TextPart(StrictPart):
    """Text of a message."""

    type: Literal["text"]
    text: str


class RefusalPart(StrictPart):
    """What the assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(StrictPart):
    """Where a picture is."""

    url: str
    """A data URI with base64, or an address (off until `VISION_URL_HOSTS` allows hosts)."""


class ImagePart(StrictPart):
    """A picture of a message."""

    type: Literal["image_url"]
    image_url: ImageUrl | str


class Stream(StrictPart):
    """Which live stream."""

    stream_id: str = Field(min_length=1, max_length=128)


class StreamPart(StrictPart):
    """The newest frame of a live stream, as Jetson's services write it."""

    type: Literal["stream"]
    stream: Stream


class FunctionCall(StrictPart):
    """What was called."""

    name: FunctionName
    arguments: str
    """A JSON object."""


class ToolCall(StrictPart):
    """A call of an earlier turn."""

    id: str | None = Field(None, max_length=256)
    type: Literal["function"] = "function"
    function: FunctionCall


Part = Annotated[TextPart | ImagePart | StreamPart | RefusalPart, Field(discriminator="type")]


class ChatMessage(StrictPart):
    """A turn."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    """`function` is what `tool` was called before."""
    name: str | None = Field(None, max_length=256)
    content: str | Annotated[list[Part], Field(max_length=MOST_PARTS)] | None = None
    tool_calls: list[ToolCall] | None = Field(None, max_length=MOST_TOOLS)
    tool_call_id: str | None = Field(None, max_length=256)


class StreamOptions(StrictPart):
    """How tokens are streamed."""

    include_usage: bool | None = False
    """Whether a last chunk tells the usage."""


class FunctionTool(StrictPart):
    """A tool: only functions are known."""

    type: Literal["function"]
    function: Function


class NamedFunction(StrictPart):
    name: FunctionName


class NamedTool(StrictPart):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(StrictPart):
    mode: Literal["auto", "required"] = "auto"
    tools: list[NamedTool] = Field(min_length=1, max_length=MOST_TOOLS)


class SomeTools(StrictPart):
    """Those of the tools that may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class SchemaFormat(StrictPart):
    """The schema of an answer."""

    name: str = Field("answer", max_length=64)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """Any object where it is left out."""


class TextFormat(StrictPart):
    type: Literal["text"]


class ObjectFormat(StrictPart):
    type: Literal["json_object"]


class JsonSchemaFormat(StrictPart):
    type: Literal["json_schema"]
    json_schema: SchemaFormat


class ChatCompletionBody(StrictPart):
    """A request of POST /v1/chat/completions."""

    model: str = Field(min_length=1, max_length=256)
    """Model id, or `auto` for the one that the service is set to; a reader of text (`manga-ocr`) tells the text."""
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2)
    """0, the most probable answer, when it is left out."""
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    n: int | None = Field(1, ge=1, le=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: Annotated[TextFormat | ObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    tools: list[FunctionTool] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | SomeTools | None = None
    parallel_tool_calls: bool | None = True
