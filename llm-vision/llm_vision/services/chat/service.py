"""One chat request, whatever API it came by: messages for a model, and its answer chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

from ...errors import InvalidToolSchema, PromptEmpty, PromptTooLong
from ...images.raw import RawImage
from ...manga.lines import mean_confidence
from ...models.base import JsonObject, ModelSpec, Task
from ...runtime.work import Chunk, OnChunk, WorkResult
from ..analysis.service import Sampling, VisionLimits
from ..inference import Inference
from ..model_care.availability import Availability
from ..model_care.default_vlm import DefaultVlm
from ..reading.crops import OcrService, OcrWish
from .json_size import is_larger
from .messages import Call, Message, ToolWish, calls_in, for_model, form_of

AUTO = "auto"
"""The name of the model that the service is set to."""
MOST_MESSAGES = 256
LONGEST_FORM = 256 * 1024
"""Characters of the schema of an answer."""
LONGEST_TALK = 8
"""Of all messages and tools together, in longest prompts."""

Pictures = Callable[[], AbstractAsyncContextManager[Sequence[RawImage]]]


@dataclass(frozen=True)
class ChatWish:
    """What a client asks for."""

    model_id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    tools: ToolWish | None = None
    keep_alive: float | None = None
    """Seconds that the model stays afterwards, from now on."""


@dataclass(frozen=True)
class ChatAnswer:
    """What a model answered."""

    model_id: str
    text: str
    finish_reason: Literal["stop", "length", "tool_calls"]
    confidence: float | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reused_tokens: int = 0
    calls: tuple[Call, ...] = ()
    logprobs: Sequence[JsonObject] | None = None
    queue_seconds: float = 0.0
    run_seconds: float = 0.0


class ChatService:
    """Everything that converses.

    Args:
        inference: the door to the models.
        availability: whether a model's weights are there.
        default: which model `auto` is.
        ocr: answers for models that only read.
        limits: of a request.
    """

    def __init__(
        self,
        inference: Inference,
        availability: Availability,
        default: DefaultVlm,
        ocr: OcrService,
        limits: VisionLimits,
    ) -> None:
        self._inference = inference
        self._availability = availability
        self._default = default
        self._ocr = ocr
        self._limits = limits

    def model_ids(self) -> list[str]:
        """All models that can be asked: those that talk, and those that only read text."""
        return self._inference.with_any((Task.CHAT, Task.OCR))

    async def spec(self, model_id: str) -> ModelSpec:
        """The model of a name: its id, another name of it, or `auto`.

        Raises:
            ModelNotFound: there is no such model.
            UnsupportedTask: it neither talks nor reads.
        """
        if model_id == AUTO:
            model_id = (await self._default.choose()).model_id
        return self._inference.spec_of_any(model_id, (Task.CHAT, Task.OCR))

    async def answer(self, wish: ChatWish, client: str, pictures: Pictures, on_chunk: OnChunk) -> ChatAnswer:
        """Answer a request, in the task that calls.

        Args:
            wish: what is asked.
            client: who asks.
            pictures: fetches and decodes the pictures, in their order, once the request is admitted.
            on_chunk: called with each chunk of the answer, as soon as it is there.

        Raises:
            PromptEmpty, PromptTooLong, InvalidToolSchema, ModelNotFound, UnsupportedTask: the request is refused.
            VisionError: the model is not there, or did not answer.
        """
        spec = await self.spec(wish.model_id)
        self._check(wish.messages)
        self._check_forms(wish)
        if Task.CHAT not in spec.tasks:
            answer = await self._read(spec.model_id, client, pictures, on_chunk)
        else:
            answer = await self._converse(spec, wish, client, pictures, on_chunk)
        if wish.keep_alive is not None:
            self._inference.keep(spec.model_id, wish.keep_alive)
        return answer

    async def _converse(
        self, spec: ModelSpec, wish: ChatWish, client: str, pictures: Pictures, on_chunk: OnChunk
    ) -> ChatAnswer:
        self._availability.require(spec)
        messages = for_model(wish.messages, wish.tools)
        self._check_total(messages)
        params = {"messages": messages, **wish.sampling.params}
        if wish.tools:
            params["format"] = form_of(wish.tools)
        async with (
            self._inference.admit([(spec.model_id, Task.CHAT)], client, self._limits.seconds) as permit,
            pictures() as images,
        ):
            result = await permit.run(spec.model_id, images, params, on_chunk)
        return _answer(spec.model_id, result, wish.tools)

    async def _read(self, engine: str, client: str, pictures: Pictures, on_chunk: OnChunk) -> ChatAnswer:
        """The texts of all pictures, for clients that take a reader of text for a model that talks."""
        languages = self._inference.spec(engine, Task.OCR).languages or {}
        wish = OcrWish(engine, "ja" if "ja" in languages else next(iter(languages)), "strip", may_fall_back=False)
        async with self._ocr.admit(wish, client) as reader, pictures() as images:
            if not images:
                raise PromptEmpty(f"{engine} reads pictures: send one", param="messages")
            readings = [await reader.read(image) for image in images]
        text = "\n".join(reading.text for reading in readings)
        on_chunk(Chunk(text))
        return ChatAnswer(engine, text, "stop", mean_confidence((one.text, one.confidence) for one in readings))

    def _check(self, messages: Sequence[Message]) -> None:
        longest = self._limits.max_prompt_chars
        if not any(message.role == "user" for message in messages):
            raise PromptEmpty("send a message of the user", param="messages")
        for number, message in enumerate(messages):
            if message.role == "user" and not message.text.strip() and not message.pictures:
                raise PromptEmpty(f"messages[{number}] has neither text nor picture", param=f"messages[{number}]")
            if len(message.text) > longest:
                detail = f"messages[{number}] has {len(message.text)} characters; the limit is {longest}"
                raise PromptTooLong(detail, param=f"messages[{number}]")

    def _check_forms(self, wish: ChatWish) -> None:
        """What is written down only to be passed on, before it is."""
        if is_larger(wish.sampling.format, LONGEST_FORM):
            detail = f"the schema has more than {LONGEST_FORM} characters"
            raise InvalidToolSchema(detail, param="response_format")
        most = LONGEST_TALK * self._limits.max_prompt_chars
        if wish.tools and is_larger(list(wish.tools.tools), most):
            raise PromptTooLong(f"the tools have more than {most} characters", param="tools")

    def _check_total(self, turns: Sequence[JsonObject]) -> None:
        """Everything that a model would have to read, tools and calls as well."""
        total = sum(len(part.get("text", "")) for turn in turns for part in turn["content"])
        most = LONGEST_TALK * self._limits.max_prompt_chars
        if total > most:
            raise PromptTooLong(f"{total} characters with tools and calls; the limit is {most}", param="messages")


def _answer(model_id: str, result: WorkResult, tools: ToolWish | None) -> ChatAnswer:
    value = result.value
    usage = value.get("usage") or {}
    calls = calls_in(value["text"]) if tools and value["finish_reason"] == "stop" else ()
    return ChatAnswer(
        model_id=model_id,
        text="" if calls else value["text"],
        finish_reason="tool_calls" if calls else value["finish_reason"],
        confidence=value["confidence"],
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
        reused_tokens=usage.get("reused_tokens", 0),
        calls=calls,
        logprobs=value.get("logprobs"),
        queue_seconds=result.queue_seconds,
        run_seconds=result.run_seconds,
    )
