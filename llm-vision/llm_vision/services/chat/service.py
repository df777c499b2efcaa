"""One chat request, whatever API it came by: messages for a model, and its answer chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...errors import InvalidToolSchema, PromptEmpty, PromptTooLong
from ...manga.lines import mean_confidence
from ...models.base import ModelSpec, Task
from ...models.tasks.chat import Converse, JsonFormat, Reply, TokenUsage, Turn
from ...models.tasks.chat import Sampling as Sampling
from ..analysis.service import VisionLimits
from ..inference import Chunk, Inference, OnChunk, Outcome
from ..model_care.availability import Availability
from ..model_care.default_vlm import DefaultVlm
from ..pictures.sources import Pictures, Source
from ..reading.crops import OcrRequest, OcrService
from .json_size import is_larger
from .messages import Message, ToolOptions, read_calls, turns_for_model
from .stream import ChatAnswer, ChatStream

AUTO = "auto"
"""The name of the model that the service is set to."""
LONGEST_SCHEMA = 256 * 1024
"""Characters of the schema of an answer."""
LONGEST_TALK = 8
"""Of all messages and tools together, in longest prompts."""


@dataclass(frozen=True)
class ChatRequest:
    """What a client asks for."""

    model: str
    """An id, another name, or `auto`."""
    messages: tuple[Message, ...]
    pictures: tuple[Source, ...]
    """Those that the messages count, in their order."""
    sampling: Sampling = field(default_factory=Sampling)
    response_format: JsonFormat | None = None
    """What an answer without tools must look like; None for any words."""
    tools: ToolOptions | None = None
    keep_alive: float | None = None
    """Seconds that the model stays afterwards, from now on."""
    may_download: bool = False
    """Whether the client may manage models: then naming one whose weights are missing brings them."""


@dataclass(frozen=True)
class ChatModels:
    """Which models answer, and whether they are there."""

    availability: Availability
    default: DefaultVlm
    """Which model `auto` is."""
    ocr: OcrService
    """Answers for models that only read."""


class ChatService:
    """Everything that converses.

    Args:
        inference: the door to the models.
        models: which of them answer.
        pictures: fetches and decodes pictures.
        limits: of a request.
    """

    def __init__(self, inference: Inference, models: ChatModels, pictures: Pictures, limits: VisionLimits) -> None:
        self._inference = inference
        self._models = models
        self._pictures = pictures
        self._limits = limits

    async def spec(self, name: str) -> ModelSpec:
        """The model of a name: its id, another name of it, or `auto`.

        Raises:
            ModelNotFound: there is no such model.
            UnsupportedTask: it neither talks nor reads.
        """
        is_default = name.removesuffix(":latest") == AUTO
        model_id = (await self._models.default.choose()).model_id if is_default else name
        return self._inference.spec_of_any(model_id, (Task.CHAT, Task.OCR))

    def answer(self, spec: ModelSpec, request: ChatRequest, client: str) -> ChatStream:
        """The answer to a request; its pictures are fetched and decoded once it is admitted.

        Args:
            spec: the model of the request's name, from `spec`.
            request: what is asked.
            client: who asks.

        The stream raises:
            PromptEmpty, PromptTooLong, InvalidToolSchema: the request is refused.
            VisionError: what is wrong with a picture, or why the model is not there or did not answer.
        """

        async def make(on_chunk: OnChunk) -> ChatAnswer:
            self._check(request)
            answer = await (self._converse if Task.CHAT in spec.tasks else self._read)(spec, request, client, on_chunk)
            if request.keep_alive is not None:
                self._inference.keep(spec.model_id, request.keep_alive)
            return answer

        return ChatStream(make, may_call=request.tools is not None)

    async def _converse(self, spec: ModelSpec, request: ChatRequest, client: str, on_chunk: OnChunk) -> ChatAnswer:
        await self._models.availability.require(spec, may_download=request.may_download)
        turns = turns_for_model(request.messages, request.tools)
        self._check_total(turns)
        response_format = request.tools.response_format if request.tools else request.response_format
        async with (
            self._inference.admit([(spec.model_id, Task.CHAT)], client, self._limits.seconds) as permit,
            self._pictures.all_decoded(request.pictures, client) as pictures,
        ):
            question = Converse(turns, request.sampling, response_format)
            outcome = await permit.run(spec.model_id, pictures, question, on_chunk)
        return _make_answer(spec.model_id, outcome, request.tools)

    async def _read(self, spec: ModelSpec, request: ChatRequest, client: str, on_chunk: OnChunk) -> ChatAnswer:
        """The texts of all pictures, for clients that take a reader of text for a model that talks."""
        engine, languages = spec.model_id, spec.languages or {}
        language = "ja" if "ja" in languages else next(iter(languages))
        wanted = OcrRequest(engine, language, may_fall_back=False, may_download=request.may_download)
        async with (
            self._models.ocr.admit(wanted, client) as reader,
            self._pictures.all_decoded(request.pictures, client) as pictures,
        ):
            if not pictures:
                raise PromptEmpty(f"{engine} reads images: send one", param="messages")
            readings = [await reader.read(picture) for picture in pictures]
        text = "\n".join(reading.text for reading in readings)
        on_chunk(Chunk(text))
        is_truncated = any(one.truncated for one in readings)
        return ChatAnswer(
            engine,
            text,
            "length" if is_truncated else "stop",
            mean_confidence((one.text, one.confidence) for one in readings),
        )

    def _check(self, request: ChatRequest) -> None:
        """Refuse what is wrong by itself, before anything of it is written down for a model."""
        longest = self._limits.max_prompt_chars
        if not any(message.role == "user" for message in request.messages):
            raise PromptEmpty("send a user message", param="messages")
        for number, message in enumerate(request.messages):
            if message.role == "user" and not message.text.strip() and not message.pictures:
                raise PromptEmpty(f"messages[{number}] has neither text nor image", param=f"messages[{number}]")
            if len(message.text) > longest:
                detail = f"messages[{number}] has {len(message.text)} characters; the limit is {longest}"
                raise PromptTooLong(detail, param=f"messages[{number}]")
        if request.response_format and is_larger(request.response_format.schema, LONGEST_SCHEMA):
            detail = f"the schema has more than {LONGEST_SCHEMA} characters"
            raise InvalidToolSchema(detail, param="response_format")
        most = LONGEST_TALK * longest
        if request.tools and is_larger(list(request.tools.tools), most):
            raise PromptTooLong(f"the tools have more than {most} characters", param="tools")

    def _check_total(self, turns: Sequence[Turn]) -> None:
        """Everything that a model would have to read, tools and calls as well."""
        total = sum(turn.characters for turn in turns)
        most = LONGEST_TALK * self._limits.max_prompt_chars
        if total > most:
            raise PromptTooLong(f"{total} characters with tools and calls; the limit is {most}", param="messages")


def _make_answer(model_id: str, outcome: Outcome[Reply], tools: ToolOptions | None) -> ChatAnswer:
    reply = outcome.value
    usage = reply.usage or TokenUsage()
    calls = read_calls(reply.text, tools) if tools and reply.finish_reason == "stop" else ()
    return ChatAnswer(
        model_id=model_id,
        text="" if calls else reply.text,
        finish_reason="tool_calls" if calls else reply.finish_reason,
        confidence=reply.confidence,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reused_tokens=usage.reused_tokens or 0,
        calls=calls,
        logprobs=reply.logprobs,
        queue_seconds=outcome.queue_seconds,
        run_seconds=outcome.run_seconds,
    )
