"""Keeps answers to what a request allows; what that is, processes of their own find out, while the model goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InsufficientMemory, InternalError, InvalidParameter, InvalidToolSchema, VisionError
from ..tasks.chat import JsonFormat, ResponseFormat
from .messages import (
    ENDED,
    GAVE_UP,
    LONGEST_REQUEST,
    MASK,
    REFUSED,
    TOKEN_BYTES,
    USUAL_LIMITS,
    GrammarLimits,
)

if TYPE_CHECKING:
    import torch

_LIMITS = {-signal.SIGXCPU, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, GAVE_UP}
"""How a process ends that reaches the end of its time, its memory or its stack."""


class Constraints:
    """Makes constraints for one tokenizer, by a process that is started when the first one is asked for.

    Args:
        tokenizer: a fast one of Transformers.
        end_tokens: those that end an answer.
        vocabulary: width of the logits, which may have more places than there are tokens.
        limits: of each answer's process.
    """

    def __init__(
        self, tokenizer: Any, end_tokens: frozenset[int], vocabulary: int, limits: GrammarLimits = USUAL_LIMITS
    ) -> None:
        backend = tokenizer.backend_tokenizer
        known = backend.get_vocab_size()
        ends = sorted(token for token in end_tokens if token < known)
        self._argument = json.dumps({"ends": ends, "width": max(vocabulary, known), "limits": asdict(limits)})
        self._tokenizer = zlib.compress(backend.to_str().encode(), 1)  # now: it takes a third of a second for 150,000
        self._control: socket.socket | None = None
        self._spare: Connection | None = None

    def constraint(self, wanted: ResponseFormat) -> Constraint:
        """What an answer must look like; it is known later whether that can be followed.

        Raises:
            InsufficientMemory: the system refuses to start a process.
            InvalidParameter, InvalidToolSchema: the schemas are far too large.
        """
        try:
            request = json.dumps(wanted.as_json(), ensure_ascii=False).encode(errors="surrogatepass")
        except RecursionError as error:
            raise _refused(wanted, "a constant is nested too deep") from error
        if len(request) > LONGEST_REQUEST:
            raise _refused(wanted, f"the schemas have more than {LONGEST_REQUEST // 2} bytes")
        channel = self._channel()
        with contextlib.suppress(OSError):  # it has just ended, as will be found out
            channel.send_bytes(request)
        return Constraint(channel, wanted, self._prepare)

    def close(self) -> None:
        """End the process, and with it all that it has started."""
        for end in (self._spare, self._control):
            if end:
                end.close()
        self._spare = self._control = None

    def _channel(self) -> Connection:
        """A process with nothing to do yet."""
        channel, self._spare = self._spare, None
        if channel is None or channel.poll():  # ended while it waited
            channel = self._ask()
        return channel

    def _prepare(self) -> None:
        """Ask for the next process when the last one has found out what it was asked: to fork takes long."""
        with contextlib.suppress(OSError, InsufficientMemory):  # the next one to ask is told
            self._spare = self._spare or self._ask()

    def _ask(self) -> Connection:
        ours, theirs = Pipe()
        with theirs:
            for _ in range(2):
                self._control = self._control or self._start()
                try:
                    socket.send_fds(self._control, [b"."], [theirs.fileno()])
                    return ours
                except OSError:  # it has ended
                    self._control = None
        raise InsufficientMemory("the system ends the process that follows schemas")

    def _start(self) -> socket.socket:
        """Start the process, by the thread that runs the model: it is ended when that thread ends."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-P", "-m", f"{__package__}.server",
                     str(theirs.fileno()), str(os.getpid()), self._argument],
                    pass_fds=(theirs.fileno(),), stdin=subprocess.PIPE,
                )  # fmt: skip
            except OSError as error:
                raise InsufficientMemory(
                    "the operating system could not start a process; it may be out of resources"
                ) from error
        threading.Thread(target=_feed, args=(process, self._tokenizer), daemon=True).start()
        return ours


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    """Give a process its input, and wait for its end."""
    with contextlib.suppress(OSError):
        process.communicate(data)
    if process.returncode:
        print(f"the process of the grammars has ended with status {process.returncode}", file=sys.stderr)


class Constraint:
    """What may come next in one answer.

    Args:
        channel: to the process that knows.
        wanted: what it was asked.
        on_answer: is called when it has answered for the first time.
    """

    def __init__(self, channel: Connection, wanted: ResponseFormat, on_answer: Callable[[], None]) -> None:
        self._channel = channel
        self._wanted = wanted
        self._on_answer: Callable[[], None] | None = on_answer
        self.mask: bytes | None = None
        """The tokens that may come next, a bit for each, the lowest first; None while that is not known."""
        self.failure: VisionError | None = None
        """Why the answer cannot go on."""

    def is_ready(self, seconds: float | None = 0.0) -> bool:
        """Whether it is known what may come next, or that nothing can.

        Args:
            seconds: how long it may wait for that; None for ever.
        """
        if self.mask is None and self.failure is None and self._channel.poll(seconds):
            self._receive()
        return self.mask is not None or self.failure is not None

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits (vocabulary,), with -inf where the answer would not fit; its end fits where it is whole.

        Raises:
            InvalidParameter, InvalidToolSchema: the schema cannot be followed, or is too complicated to go on.
            InsufficientMemory: the system has ended the process.
            InferenceFailed, InternalError: it does not work.
        """
        self.is_ready(None)
        if self.failure:
            raise self.failure
        assert self.mask is not None  # noqa: S101
        return only(self.mask, logits)

    def take(self, token: int) -> None:
        """Go on behind the token that was chosen, one of those that were allowed."""
        self.mask = None
        with contextlib.suppress(OSError):  # it has ended, as will be found out
            self._channel.send_bytes(token.to_bytes(TOKEN_BYTES, "big"))

    def close(self) -> None:
        """Nobody waits for the answer any more: the process is ended, whatever it does."""
        self._channel.close()

    def _receive(self) -> None:
        if self._on_answer:
            self._on_answer()
            self._on_answer = None
        try:
            message = self._channel.recv_bytes()
        except (EOFError, OSError):
            message = ENDED + b"%d" % -signal.SIGKILL
        kind, content = message[:1], message[1:]
        if kind == MASK:
            self.mask = content
        elif kind == REFUSED:
            told = json.loads(content)
            self.failure = VisionError.with_code(told["code"], told["detail"], param=told["param"])
        else:
            self.failure = self._end(int(content))

    def _end(self, status: int) -> VisionError:
        if status in _LIMITS:
            return _refused(self._wanted, "to follow the schema takes too much time or memory")
        if status == -signal.SIGKILL:
            return InsufficientMemory("the system has ended the process that follows the schema")
        return InternalError.unexpected()


def only(mask: bytes, logits: torch.Tensor) -> torch.Tensor:
    """Logits (vocabulary,), with -inf for the tokens whose bit in a mask is 0."""
    import torch

    bits = np.unpackbits(np.frombuffer(mask, np.uint8), count=len(logits), bitorder="little")
    return logits.masked_fill(torch.from_numpy(bits == 0).to(logits.device), -torch.inf)


def _refused(wanted: ResponseFormat, detail: str) -> VisionError:
    if isinstance(wanted, JsonFormat):
        return InvalidParameter(detail, param="response_format")
    return InvalidToolSchema(detail, param="tools")
