"""An answer that is sent chunk by chunk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...errors import InternalError, VisionError
from ...services.answer_stream import AnswerStream

Answer = TypeVar("Answer")


class StreamedAnswer(Response):
    """Sends what `events` makes of an answer; its making ends when the client leaves.

    Args:
        answer: what is made, and has begun.
        events: the body, in chunks.
        media_type: of the body.
        failure: makes the chunk that reports why the answer broke off.
    """

    def __init__(
        self,
        answer: AnswerStream[Answer],
        events: AsyncIterator[str],
        media_type: str,
        failure: Callable[[VisionError], str],
    ) -> None:
        super().__init__(media_type=media_type, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._answer = answer
        self._events = events
        self._failure = failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                async for event in self._events:
                    await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
            except Exception as error:
                reported = error if isinstance(error, VisionError) else InternalError.unexpected()
                await send({"type": "http.response.body", "body": self._failure(reported).encode(), "more_body": False})
                raise  # the gate counts it
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._answer.close()
