"""POST /analyze_image answers a question about a picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from ...errors import InvalidParameter, MalformedJson, VisionError
from ...http.bodies.fields import validate
from ...http.bodies.json_body import parse_object
from ...http.media_types import SSE
from ...http.openapi import PICTURE_CODES, URL_CODES, error_responses
from ...http.problem import error_body
from ...services.analysis.service import Sampling, Turn, VisionAnswer, VisionRequest
from ...services.answer_stream import AnswerStream
from ...services.pictures.sources import FileSource, UrlSource
from ..shared.answering import StreamedAnswer
from ..shared.dependencies import ServicesDep
from ..shared.fallback import Fallback, join_notices
from ..shared.request_docs import picture_body
from ..shared.uploads import read_upload
from .bodies import AnalyzeAnswer, AnalyzeChoice, AnalyzeChoices, AnalyzeDelta, AnalyzeForm, Decision, History, Usage

AUTO = "auto"
Listed = TypeVar("Listed", bound=BaseModel)

router = APIRouter(tags=["Analysis"])

_CHOICES_FORM = '`yes,no`, or `["yes", "no"]`'
_HISTORY_FORM = '`[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]`'
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {SSE: {}}},
    **error_responses(
        *PICTURE_CODES,
        *URL_CODES,
        "prompt_too_long",
        "context_length_exceeded",
        "upstream_rejected",
        "upstream_invalid",
        "upstream_unavailable",
    ),
}


@router.post(
    "/analyze_image",
    response_model=AnalyzeAnswer,
    responses=_ANSWERS,
    openapi_extra=picture_body(AnalyzeForm),
    summary="Ask about a picture",
)
async def analyze_image(request: Request, services: ServicesDep) -> Response | AnalyzeAnswer:
    """Answer a prompt about a picture.

    A vision-language model answers: the one that is named, or the one that the service is set to. While that one's
    weights are missing, and none was named, the answer is made of facts (kind, size, likely things, colours, text),
    `degraded` is true and `notice` says what is missing.
    """
    upload = await read_upload(request, AnalyzeForm, services.max_file_bytes)
    form, client = upload.fields, request.state.client
    turns = _read_list(form.history, "history", History, _HISTORY_FORM).history
    wanted = VisionRequest(
        None if form.model == AUTO else form.model,
        form.prompt,
        may_fall_back=form.fallback is Fallback.AUTO,
        may_download=request.state.may_manage,
        history=tuple(Turn(turn.role, (turn.content,)) for turn in turns),
        sampling=Sampling(form.temperature, form.top_p, form.max_tokens),
        choices=_read_choices(form),
    )
    source = UrlSource(form.url) if form.url else FileSource(upload.picture)

    answer = await services.vision.answer(wanted, source, client).begin()
    if form.stream:
        request_id: str = request.state.request_id
        events = _stream_events(answer, upload.notice)
        return StreamedAnswer(answer, events, SSE, lambda error: _failure_event(error, request_id))
    return _as_answer(await answer.finish(), upload.notice)


async def _stream_events(stream: AnswerStream[VisionAnswer], notice: str | None) -> AsyncIterator[str]:
    async for chunk in stream.chunks():
        yield _format_event("delta", AnalyzeDelta(text=chunk.text))
    yield _format_event("answer", _as_answer(await stream.answer(), notice))


def _failure_event(error: VisionError, request_id: str) -> str:
    return _format_event("error", error_body(error, request_id))


def _format_event(name: str, data: BaseModel) -> str:
    return f"event: {name}\ndata: {data.model_dump_json()}\n\n"


def _as_answer(answer: VisionAnswer, notice: str | None) -> AnalyzeAnswer:
    shares = answer.probabilities
    return AnalyzeAnswer(
        analysis=answer.text,
        confidence=answer.confidence,
        model=answer.model_id,
        usage=Usage.of(answer.usage.prompt_tokens, answer.usage.completion_tokens) if answer.usage else None,
        decision=Decision(
            choice=answer.text,
            probabilities=[AnalyzeChoice(choice=choice, probability=share) for choice, share in shares.items()],
        )
        if shares
        else None,
        degraded=answer.notice is not None,
        notice=join_notices(answer.notice, notice),
    )


def _read_choices(form: AnalyzeForm) -> tuple[str, ...]:
    if not form.choices:
        return ()
    written = form.choices
    if isinstance(written, str) and not written.lstrip().startswith(("[", "{", '"')):
        written = [choice.strip() for choice in written.split(",") if choice.strip()]
    choices = _read_list(written, "choices", AnalyzeChoices, _CHOICES_FORM).choices
    if len(set(choices)) < len(choices):
        raise InvalidParameter("two choices are the same", param="choices")
    return tuple(choices)


def _read_list(value: list[Any] | str | None, name: str, schema: type[Listed], right_form: str) -> Listed:
    """A list that comes as JSON within a form, or as a part of a JSON body.

    Raises:
        VisionError: it is no such list.
    """
    if isinstance(value, str):
        try:
            body = parse_object(f'{{"{name}": {value}}}'.encode())
        except MalformedJson:
            body = {}
        if body.keys() != {name}:  # none, or more than one value
            raise MalformedJson(f"`{name}` is not JSON: send {right_form}", param=name)
        return validate(schema, body)
    return validate(schema, {name: [one if isinstance(one, str) else one.model_dump() for one in value or []]})
