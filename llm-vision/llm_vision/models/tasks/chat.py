"""The `chat` task: a conversation about pictures, answered freely, as JSON, by calls of tools, or by a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from ..base import JsonObject


class PicturePlace(Enum):
    """Where a picture stands in a turn."""

    HERE = "image"


@dataclass(frozen=True)
class Turn:
    """What somebody said."""

    role: str
    """`system`, `user` or `assistant`."""
    parts: tuple[str | PicturePlace, ...]
    """Texts and pictures in their order; the pictures themselves come beside the request."""

    @property
    def characters(self) -> int:
        """Length of its texts."""
        return sum(len(part) for part in self.parts if isinstance(part, str))

    def as_json(self) -> JsonObject:
        """As chat templates of checkpoints take it."""
        content = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in self.parts
        ]
        return {"role": self.role, "content": content}

    @classmethod
    def from_json(cls, value: JsonObject) -> Turn:
        content = value["content"]
        parts = (PicturePlace.HERE if part["type"] == "image" else str(part["text"]) for part in content)
        return cls(value["role"], tuple(parts))


@dataclass(frozen=True)
class Sampling:
    """How the words of an answer are chosen."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_logprobs: int | None = None
    """How many alternatives are told of each token; None to tell nothing of tokens."""

    def as_json(self) -> JsonObject:
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": list(self.stop),
            "seed": self.seed,
            "logprobs": self.top_logprobs,
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Sampling:
        return cls(
            temperature=value["temperature"],
            top_p=value["top_p"],
            max_tokens=value["max_tokens"],
            stop=tuple(value["stop"]),
            seed=value["seed"],
            top_logprobs=value.get("logprobs"),
        )


@dataclass(frozen=True)
class JsonFormat:
    """An answer in JSON."""

    schema: JsonObject | None = None
    """None for any object."""

    def as_json(self) -> JsonObject:
        if self.schema is None:
            return {"type": "json_object"}
        return {"type": "json_schema", "schema": self.schema}


@dataclass(frozen=True)
class ToolsFormat:
    """An answer that may or must call tools."""

    tools: tuple[JsonObject, ...]
    """Each with `name` and `parameters`, a JSON schema or None."""
    choice: str
    """`auto`, `required` or a tool's name."""
    parallel: bool = False
    """Whether several calls may be made at once."""
    otherwise: JsonFormat | None = None
    """The format of an answer that calls nothing; None where it may be any words."""

    def as_json(self) -> JsonObject:
        return {
            "type": "tools",
            "tools": list(self.tools),
            "choice": self.choice,
            "parallel": self.parallel,
            "otherwise": self.otherwise and self.otherwise.as_json(),
        }


ResponseFormat = JsonFormat | ToolsFormat


def response_format_from_json(value: JsonObject | None) -> ResponseFormat | None:
    """What an answer must look like; None where it may be any words."""
    if value is None:
        return None
    if value["type"] != "tools":
        return _json_format(value)
    otherwise = value.get("otherwise")
    return ToolsFormat(
        tools=tuple(value["tools"]),
        choice=value["choice"],
        parallel=value.get("parallel", False),
        otherwise=None if otherwise is None else _json_format(otherwise),
    )


def _json_format(value: JsonObject) -> JsonFormat:
    return JsonFormat(value["schema"] if value["type"] == "json_schema" else None)


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of a request and its answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reused_tokens: int | None = None
    """Of the prompt, what had been read before; None where that is not known."""

    def as_json(self) -> JsonObject:
        reused = {} if self.reused_tokens is None else {"reused_tokens": self.reused_tokens}
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens, **reused}

    @classmethod
    def from_json(cls, value: JsonObject) -> TokenUsage:
        return cls(value.get("prompt_tokens", 0), value.get("completion_tokens", 0), value.get("reused_tokens"))


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    text: str
    confidence: float | None
    """0..1: exp of the mean log-probability of its tokens; None where that is not known."""
    finish_reason: Literal["stop", "length"]
    """`length` when it was cut off."""
    usage: TokenUsage | None = None
    """None where another server does not tell."""
    logprobs: Sequence[JsonObject] | None = None
    """Of its tokens in OpenAI's shape, where they were asked for."""

    def as_json(self) -> JsonObject:
        return {
            "text": self.text,
            "confidence": self.confidence,
            "finish_reason": self.finish_reason,
            "usage": self.usage and self.usage.as_json(),
            **({} if self.logprobs is None else {"logprobs": self.logprobs}),
        }

    @classmethod
    def from_json(cls, value: JsonObject) -> Reply:
        usage = value.get("usage")
        return cls(
            text=value["text"],
            confidence=value["confidence"],
            finish_reason=value.get("finish_reason", "stop"),
            usage=None if usage is None else TokenUsage.from_json(usage),
            logprobs=value.get("logprobs"),
        )


@dataclass(frozen=True)
class Weighed:
    """How probable a model finds each of the given answers."""

    probabilities: dict[str, float]
    """Of each answer; together 1."""
    usage: TokenUsage

    def as_json(self) -> JsonObject:
        return {"probabilities": self.probabilities, "usage": self.usage.as_json()}

    @classmethod
    def from_json(cls, value: JsonObject) -> Weighed:
        return cls(value["probabilities"], TokenUsage.from_json(value["usage"]))


@dataclass(frozen=True)
class Converse:
    """Answer the last turn of a conversation."""

    turns: tuple[Turn, ...]
    sampling: Sampling = Sampling()
    response_format: ResponseFormat | None = None

    def as_json(self) -> JsonObject:
        return {
            "messages": [turn.as_json() for turn in self.turns],
            **self.sampling.as_json(),
            "format": self.response_format and self.response_format.as_json(),
        }

    def parse_result(self, value: JsonObject) -> Reply:
        return Reply.from_json(value)


@dataclass(frozen=True)
class Decide:
    """Weigh given answers to the last turn of a conversation."""

    turns: tuple[Turn, ...]
    choices: tuple[str, ...]

    def as_json(self) -> JsonObject:
        return {"messages": [turn.as_json() for turn in self.turns], "choices": list(self.choices)}

    def parse_result(self, value: JsonObject) -> Weighed:
        return Weighed.from_json(value)


def chat_from_json(value: JsonObject) -> Converse | Decide:
    """The request of a `chat` task."""
    turns = tuple(map(Turn.from_json, value["messages"]))
    if value.get("choices"):
        return Decide(turns, tuple(value["choices"]))
    return Converse(turns, Sampling.from_json(value), response_format_from_json(value.get("format")))
