"""Models of other servers as ours: all that speak OpenAI's chat completions (vLLM, SGLang, Ollama, llama.cpp)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from ....errors import ClientClosed, UnsupportedTask
from ....http_client import watch
from ...base import Item, JsonObject, LoadContext, ModelSpec, SteppedModel, Task
from ...registry import CatalogEntry
from ...tasks.chat import Converse, Decide, chat_from_json

if TYPE_CHECKING:
    import httpx2
    import numpy as np
    from numpy.typing import NDArray

    Images = Sequence[NDArray[np.uint8]]

log = logging.getLogger(__name__)

MEBIBYTE = 1024 * 1024
KEY_VARIABLE = "LLM_VISION_UPSTREAM_KEY"
CONNECT_SECONDS = 5.0
WRITE_SECONDS = 60.0
FIRST_SECONDS = 240.0
"""Longest silence before the first chunk: the server may have to load its model, and queues."""
BETWEEN_SECONDS = 60.0
CHECK_SECONDS = 2.0
"""For the look at the server when the model is loaded."""
LOOK_SECONDS = 0.05
"""How often a running request looks whether anybody waits for it."""
ATTEMPTS = 3
MOST_AT_ONCE = 8
"""Requests that are with the other server."""
MOST_EVENT_BYTES = MEBIBYTE
LEAST_CHUNK_BYTES = 16
"""On average; an event with a token has more."""
MOST_ERROR_BYTES = 64 * 1024


def entry_of(model_id: str, url: str, model: str, key: str | None) -> CatalogEntry:
    """The catalogue entry of another server's model.

    Args:
        model_id: what our clients call it.
        url: where the server's API begins, mostly ending in `/v1`.
        model: its name there.
        key: what the server asks for, if anything.
    """
    spec = ModelSpec(
        model_id=model_id,
        title=f"{model}, on another server",
        tasks=frozenset({Task.CHAT}),
        license="that of the other server's model",
        memory_bytes=96 * MEBIBYTE,
        max_batch=MOST_AT_ONCE,
        computes=False,
        is_stepped=True,
    )
    place = f"{Upstream.__module__}:{Upstream.__qualname__}"
    return CatalogEntry(spec, place, {"url": url, "model": model}, {KEY_VARIABLE: key} if key else {})


class Upstream(SteppedModel):
    """Asks the other server; several requests at the same time."""

    def load(self, context: LoadContext) -> None:
        """Make the client. The server need not be there yet: a look at it only warns in the log."""
        import httpx2
        import stamina.instrumentation

        from .chat import CONFIDENCE, SALT

        stamina.instrumentation.set_on_retry_hooks([])  # they would name the call and its error in the log
        key = os.environ.pop(KEY_VARIABLE, None)
        self._model: str = context.options["model"]
        self._extras = [frozenset(extras) for extras in ({SALT, *CONFIDENCE}, CONFIDENCE, {SALT}, ())]
        """Fields to ask with, the best first: no server has to know them."""
        self._answering: dict[asyncio.Task[JsonObject | Exception], Item] = {}
        self._runner = asyncio.Runner()
        client = httpx2.AsyncClient(
            base_url=context.options["url"],
            headers={"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})},
            timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, write=WRITE_SECONDS),
            limits=httpx2.Limits(max_keepalive_connections=0),  # a kept one may be closed just when it is used
            follow_redirects=False,
            trust_env=False,
        )
        self._client = watch(client, least_chunk_bytes=LEAST_CHUNK_BYTES)
        self._runner.run(self._look())

    async def _look(self) -> None:
        """Warn an operator whose server is not there or does not know the key."""
        import httpx2

        try:
            async with asyncio.timeout(CHECK_SECONDS), self._client.stream("GET", "models") as response:
                if response.status_code != httpx2.codes.OK:
                    log.warning("the other server answers /models with status %d", response.status_code)
        except (httpx2.HTTPError, TimeoutError) as error:
            log.warning("the other server does not answer yet (%s)", type(error).__name__)

    def join(self, item: Item) -> None:
        request = chat_from_json(item.params)
        if isinstance(request, Decide):
            raise UnsupportedTask("choices are not passed on to another server", param="model")
        answering = self._answer_while_wanted(item, request, item.images)
        self._answering[self._runner.get_loop().create_task(answering)] = item

    def step(self) -> list[tuple[Item, JsonObject | Exception]]:
        """Wait a little for answers."""
        return self._runner.run(self._ended())

    def leave(self, item: Item) -> None:
        for task in [task for task, other in self._answering.items() if other is item]:
            del self._answering[task]
            task.cancel()

    def shrink(self) -> Item | None:
        youngest = list(self._answering.values())[-1]
        self.leave(youngest)
        return youngest

    async def _ended(self) -> list[tuple[Item, JsonObject | Exception]]:
        done, _ = await asyncio.wait(self._answering, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        return [(self._answering.pop(task), task.result()) for task in done]

    async def _answer_while_wanted(self, item: Item, request: Converse, images: Images) -> JsonObject | Exception:
        """Break off as soon as nobody waits: the server stops generating when its connection is closed."""
        answering = asyncio.create_task(self._answer(item, request, images))
        while not answering.done():
            await asyncio.wait([answering], timeout=LOOK_SECONDS)
            if item.cancelled:
                answering.cancel()
        if answering.cancelled():
            return ClientClosed("nobody waits for this answer")
        return answering.result()

    async def _answer(self, item: Item, request: Converse, images: Images) -> JsonObject | Exception:
        from .errors import Failed

        try:
            return await self._ask(item, request, images)
        except Failed as failure:
            log.warning("the other server did not answer: %s", failure)
            return failure.error
        except Exception as error:
            log.exception("a request to the other server failed")
            return error

    async def _ask(self, item: Item, request: Converse, images: Images) -> JsonObject:
        import httpx2

        from . import errors
        from .chat import chat_body

        body = await asyncio.to_thread(chat_body, self._model, request, images)
        try:
            async with (
                asyncio.timeout(FIRST_SECONDS) as silence,
                aclosing(await self._open(body, item.owner)) as response,
            ):
                return await _read(response, item, request, silence)
        except TimeoutError:
            raise errors.too_slow() from None
        except httpx2.SSEError:
            raise errors.not_understood() from None
        except httpx2.RequestError as error:
            raise errors.not_reached(error) from None

    async def _open(self, body: JsonObject, owner: str) -> httpx2.Response:
        """An answer that begins well. A field that a server refuses is left out from then on."""
        from .chat import CONFIDENCE, SALT
        from .errors import Failed

        fields = {SALT: owner, **CONFIDENCE}
        best, *others = [extras for extras in self._extras if owner or SALT not in extras]
        for extras in (best, *others):
            try:
                response = await self._send({**body, **{name: fields[name] for name in extras}})
            except Failed as failure:
                if not (failure.may_be_an_option and extras):
                    raise
            else:
                self._extras = [known for known in self._extras if known.isdisjoint(best - extras)]
                return response
        raise AssertionError("the last try returns or raises")

    async def _send(self, body: JsonObject) -> httpx2.Response:
        """Send a request, again where the server was not reached or is busy: nothing was generated then."""
        import stamina

        from .errors import pause_before_next

        attempts = stamina.retry_context(
            pause_before_next, ATTEMPTS, timeout=None, wait_initial=0.2, wait_jitter=0.2, wait_max=2.0
        )
        async for attempt in attempts:
            with attempt:
                return await self._try(body)
        raise AssertionError("the last attempt returns or raises")

    async def _try(self, body: JsonObject) -> httpx2.Response:
        import httpx2

        from . import errors

        try:
            request = self._client.build_request("POST", "chat/completions", json=body)
            response = await self._client.send(request, stream=True)
        except httpx2.RequestError as error:
            raise errors.not_reached(error) from None
        if response.status_code == httpx2.codes.OK and "content-encoding" not in response.headers:
            return response
        async with aclosing(response):
            raise errors.refused_by_status(response.status_code, response.headers, await _start_of(response))


async def _read(response: httpx2.Response, item: Item, request: Converse, silence: asyncio.Timeout) -> JsonObject:
    """The whole answer; its chunks go out as they come, and each puts the end of patience off."""
    import httpx2

    from . import errors
    from .bounds import BoundedBody, most_bytes
    from .chat import Answer

    answer = Answer(request.response_format)
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101
    response.stream = BoundedBody(response.stream, most_bytes(request.sampling.max_tokens))
    response.encoding = "utf-8"  # events have no other, and a header may name one that is slow to read
    async for event in httpx2.EventSource(response, MOST_EVENT_BYTES):
        silence.reschedule(asyncio.get_running_loop().time() + BETWEEN_SECONDS)
        if event.data == "[DONE]":
            return answer.result()
        if text := answer.add(event.data):
            item.send_token(text)
    if not answer.is_finished:
        raise errors.broken_off()
    return answer.result()


async def _start_of(response: httpx2.Response) -> str:
    """The first bytes of an error's body."""
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MOST_ERROR_BYTES:
            break
    return body[:MOST_ERROR_BYTES].decode("utf-8", "replace")
