"""Bodies of Ollama's API under /api, as far as it is spoken here; other fields are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ...durations import FOR_EVER, parse_seconds
from ..shared.chat_bodies import MOST_MESSAGES, MOST_STOPS, MOST_TOKENS, MOST_TOOLS, ONE_YEAR, Function, Stop
from ..shared.confidence import Confidence


def _read_duration(value: Any) -> Any:
    """Seconds of a number or of a text like `5m` or `1h30m`; anything negative is for ever, an empty text is none."""
    if value == "":
        return None
    try:
        seconds = parse_seconds(value) if isinstance(value, str) else value
        if isinstance(seconds, int | float) and not isinstance(seconds, bool):
            return FOR_EVER if seconds < 0 else float(seconds)
    except (ValueError, OverflowError):
        raise ValueError("send seconds, or a text like 5m or 1h30m") from None
    return value


KeepAlive = Annotated[
    Annotated[float, Field(ge=FOR_EVER, le=ONE_YEAR, allow_inf_nan=False)] | None,
    BeforeValidator(_read_duration, json_schema_input_type=float | str | None),
]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
_Images = Annotated[list[str], Field(max_length=64)]


class LenientPart(BaseModel):
    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)


class Options(LenientPart):
    """How tokens are chosen."""

    temperature: float | None = Field(None, ge=0, le=2)
    """0, the most probable answer, when it is left out."""
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    num_predict: int | None = Field(None, ge=-2, le=MOST_TOKENS)
    """Longest answer in tokens; negative for as long as the model can."""
    stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None


class OllamaModelBody(LenientPart):
    """The model that is meant."""

    model: ModelName
    """`name` is another name for it."""
    stream: bool | None = True
    """Lines of JSON as soon as they are there, or one object."""

    @model_validator(mode="before")
    @classmethod
    def _accept_name(cls, values: Any) -> Any:
        """Clients written in Go send both names, one of them empty."""
        if isinstance(values, dict) and not values.get("model") and values.get("name"):
            return {**values, "model": values["name"]}
        return values

    @property
    def is_streamed(self) -> bool:
        """Whether lines are wanted: unless they are refused."""
        return self.stream is not False


class _ModelRequest(OllamaModelBody):
    format: Literal["json", ""] | dict[str, Any] | None = None
    """`json`, or a JSON schema."""
    options: Options | None = None
    keep_alive: KeepAlive = None
    """Seconds, or a text like `5m`, that the model stays in memory afterwards; 0 unloads it, -1 keeps it for ever."""


class OllamaFunction(LenientPart):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    arguments: dict[str, Any] | None = None


class OllamaToolCall(LenientPart):
    """A call of an earlier turn."""

    function: OllamaFunction


class Tool(LenientPart):
    """A tool: only functions are known."""

    type: Literal["function", ""] | None = None
    function: Function


class OllamaMessage(LenientPart):
    """A turn."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = ""
    images: _Images | None = None
    """Base64."""
    tool_calls: list[OllamaToolCall] | None = Field(None, max_length=MOST_TOOLS)
    tool_name: str | None = Field(None, max_length=64)


class OllamaChatBody(_ModelRequest):
    """A request of POST /api/chat."""

    messages: list[OllamaMessage] | None = Field(None, max_length=MOST_MESSAGES)
    """None to load the model only, or to unload it with `keep_alive` 0."""
    tools: list[Tool] | None = Field(None, max_length=MOST_TOOLS)


class GenerateBody(_ModelRequest):
    """A request of POST /api/generate."""

    prompt: str | None = None
    """None to load the model only, or to unload it with `keep_alive` 0."""
    system: str | None = None
    images: _Images | None = None
    """Base64."""


class Details(BaseModel):
    parent_model: str = ""
    format: str
    family: str
    families: list[str]
    parameter_size: str = ""
    quantization_level: str = ""


class LocalModel(BaseModel):
    """A model whose weights are there."""

    name: str
    model: str
    modified_at: str
    size: int
    """Bytes."""
    digest: str
    """Of its id and revision: one for each version."""
    details: Details


class LocalModels(BaseModel):
    models: list[LocalModel]


class LoadedModel(BaseModel):
    """A model in memory."""

    name: str
    model: str
    size: int
    """Bytes of memory."""
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int | None = None
    """Tokens; left out where it is not known."""


class LoadedModels(BaseModel):
    models: list[LoadedModel]


class ShownModel(BaseModel):
    """What is known of a model."""

    license: str
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(BaseModel):
    version: str


class WantedFunction(BaseModel):
    name: str
    arguments: dict[str, Any]


class WantedCall(BaseModel):
    """A call that a model wants to be made."""

    function: WantedFunction


class OllamaAnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    tool_calls: list[WantedCall] | None = None


class AnswerEnd(BaseModel):
    """How an answer went, in its last line. Durations are in nanoseconds."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    done_reason: str | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None
    confidence: Confidence | None = None
    """0..1, exp of the tokens' mean log-probability: how fluent the model was, not how right; null when not known."""


class _Answer(AnswerEnd):
    """A line of an answer; the last one tells how it went. Durations are in nanoseconds."""

    model: str
    created_at: str
    done: bool


class ChatAnswerLine(_Answer):
    message: OllamaAnswerMessage


class GenerateAnswerLine(_Answer):
    response: str
    context: list[int] | None = None


class PullLine(BaseModel):
    """How far a download is."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
