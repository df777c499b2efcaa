"""How long what comes with the weights may compute: templates, and expressions of tokenizers, can go on for ever."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_LOOK_SECONDS = 0.1

Result = TypeVar("Result")


class TooCostly(Exception):
    """It has computed for longer than it may."""


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Run Python code of the main thread for so many seconds of its processor time; elsewhere there is no limit.

    Raises:
        TooCostly: it took longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends_at = time.thread_time() + seconds

    def look(*_: object) -> None:
        if time.thread_time() > ends_at:
            raise TooCostly

    before = signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, _LOOK_SECONDS, _LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def run_within(seconds: float, call: Callable[[], Result]) -> Result:
    """What a call returns that lets other threads run, as libraries in Rust do; it has a thread of its own.

    Args:
        seconds: of processor time.
        call: goes on in its thread when it takes longer; this process is then of no use.

    Raises:
        TooCostly: it took longer, or panicked.
        Exception: whatever the call raises.
    """
    results: list[Result] = []
    failures: list[BaseException] = []
    clocks: list[int] = []

    def run() -> None:
        clocks.append(time.pthread_getcpuclockid(threading.get_ident()))
        try:
            results.append(call())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_SECONDS)
        if clocks and _seconds_of(clocks[0]) > seconds:
            raise TooCostly
    if failures:
        error = failures[0]
        raise error if isinstance(error, Exception) else TooCostly from error
    return results[0]


def _seconds_of(clock: int) -> float:
    try:
        return time.clock_gettime(clock)
    except OSError:  # the thread has ended
        return 0.0
