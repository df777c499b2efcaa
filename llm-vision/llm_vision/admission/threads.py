"""Threads for calls of the system that cannot be cancelled and may never return."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


class DetachedThreads:
    """Runs each call in a thread of its own.

    A call that hangs keeps its thread. So these are not the threads of the event loop, there are only so many of
    them, and the end of the process waits for none. Who waits for a free one may give up.

    Args:
        most: threads at the same time.
        name: of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        self._free = asyncio.Semaphore(most)
        self._name = name

    async def run(self, call: Callable[[], Value]) -> Value:
        """What a call returns.

        Raises:
            OSError: the operating system could not start a thread.
            Exception: whatever the call raises.
        """
        await self._free.acquire()
        answer: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        try:
            threading.Thread(target=self._run, args=(call, answer), name=self._name, daemon=True).start()
        except RuntimeError:
            self._free.release()
            raise OSError("the operating system could not start a thread") from None
        return await answer

    def _run(self, call: Callable[[], Value], answer: asyncio.Future[Value]) -> None:
        try:
            value = call()
        except Exception as error:  # handed on, whatever it is
            failure = error
            self._hand_over(answer, lambda: answer.set_exception(failure))
        else:
            self._hand_over(answer, lambda: answer.set_result(value))

    def _hand_over(self, answer: asyncio.Future[Value], settle: Callable[[], None]) -> None:
        def end() -> None:
            self._free.release()
            if not answer.done():  # else nobody waits for it any more
                settle()

        with contextlib.suppress(RuntimeError):  # the event loop has ended meanwhile
            answer.get_loop().call_soon_threadsafe(end)
