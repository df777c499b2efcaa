"""What the chat APIs share: an answer that has begun, and its words without what turns out to be calls of tools."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from ...runtime.work import Chunk, OnChunk
from ...services.chat.messages import may_become_calls
from ...services.chat.service import ChatAnswer, ChatWish
from ...services.pictures.sources import Source, decoded
from .answering import Answering
from .dependencies import Services


async def begun(
    wish: ChatWish, model_id: str, pictures: Sequence[Source], services: Services, client: str
) -> Answering[ChatAnswer]:
    """The answer to a request whose model was found, once there is something of it.

    Raises:
        VisionError: there is no answer.
    """
    found = replace(wish, model_id=model_id)

    async def make(on_chunk: OnChunk) -> ChatAnswer:
        return await services.chat.answer(found, client, lambda: decoded(pictures, services, client), on_chunk)

    answering = Answering(make)
    await answering.begin()
    return answering


async def words(answering: Answering[ChatAnswer], *, may_call: bool) -> AsyncIterator[Chunk]:
    """The chunks that are text; what may be calls of tools is held back until that is known.

    Raises:
        VisionError: the answer broke off.
    """
    held, told = "", list[dict[str, Any]]()
    async for chunk in answering.chunks():
        held += chunk.text
        told += chunk.logprobs
        if may_call and may_become_calls(held):
            continue
        may_call = False
        yield Chunk(held, tuple(told))
        held, told = "", []
    if held and not (await answering.answer()).calls:
        yield Chunk(held, tuple(told))
