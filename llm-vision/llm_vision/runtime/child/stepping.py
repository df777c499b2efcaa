"""Runs a model whose requests join and leave between steps, in its worker process."""

from __future__ import annotations

import time
from collections import deque
from typing import NoReturn

from ...child_log import tell_exception
from ...errors import ClientClosed, VisionError
from ...errors.memory import is_out_of_memory
from ...models.base import Item, JsonObject, SteppedModel
from .connection import Connection, WorkItem, items_of
from .outcomes import answer, as_failure, end_if_device_is_lost, free_memory


class Stepping:
    """The requests that a model is answering.

    Args:
        connection: to the gateway.
        model: what answers.
    """

    def __init__(self, connection: Connection, model: SteppedModel) -> None:
        self._connection = connection
        self._model = model
        self._arrived: deque[WorkItem] = deque()
        """Those that have not joined yet."""
        self._joined_at: dict[Item, float] = {}

    def serve(self) -> NoReturn:
        """Take requests in and go on with all of them, until told to stop."""
        while True:
            self._take_messages()
            self._join_arrived()
            self._step()

    def _take_messages(self) -> None:
        """All that have come; where nothing is to be done, the next one."""
        connection = self._connection
        while message := connection.waiting_message() if self._has_work else connection.next_message():
            header, payload = message
            if header["type"] == "stop":
                connection.leave()
            self._model.threads = header["threads"]
            self._arrived += items_of(connection, header, payload)

    @property
    def _has_work(self) -> bool:
        return bool(self._joined_at or self._arrived)

    def _join_arrived(self) -> None:
        """Those that the model takes in before its next step; and those that have left, which ends them."""
        for item in [item for item in self._arrived if item.cancelled]:
            self._arrived.remove(item)
            self._join(item)
        while self._arrived and self._model.can_join:
            self._join(self._arrived.popleft())

    def _join(self, item: WorkItem, *, is_retry: bool = False) -> None:
        if not is_retry:
            self._joined_at[item] = time.perf_counter()
        if item.cancelled:
            self._end(item, ClientClosed("nobody waits for this answer"))
            return
        try:
            self._model.join(item)
        except BaseException as error:
            failure = as_failure(error)
        else:
            item.images = ()
            return
        if is_out_of_memory(failure) and not is_retry:
            self._free_memory(failure)
            self._join(item, is_retry=True)
        else:
            self._end(item, failure)

    def _step(self) -> None:
        """One step; when memory runs out in it, again with less."""
        has_failed = False
        while self._joined_at:
            try:
                ended = self._model.step()
            except BaseException as error:
                failure = as_failure(error)
            else:
                for item, result in ended:
                    self._end(item, result)
                return
            if not is_out_of_memory(failure):
                self._fail_all(failure)
                return
            self._free_memory(failure)
            if has_failed and (misfit := self._model.shrink()):
                self._end(misfit, failure)
            has_failed = True

    def _fail_all(self, failure: Exception) -> None:
        for item in list(self._joined_at):
            self._model.leave(item)
            self._end(item, failure)

    def _free_memory(self, failure: Exception) -> None:
        failure.__traceback__ = None  # its frames hold the tensors
        self._model.let_go()
        free_memory()

    def _end(self, item: Item, result: JsonObject | Exception) -> None:
        assert isinstance(item, WorkItem)  # noqa: S101
        if isinstance(result, Exception) and not isinstance(result, VisionError):
            tell_exception(result)
        answer(self._connection, item, result, time.perf_counter() - self._joined_at.pop(item))
        self._connection.cancelled.discard(item.item_id)
        end_if_device_is_lost([result])
