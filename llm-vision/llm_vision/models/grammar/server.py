"""The process of a model's grammars: each answer's in a fork of its own, which computes what may come next.

Started as `python -P -m llm_vision.models.grammar.server FD PARENT_PID ARGUMENT_JSON`, with the tokenizer's JSON,
compressed, on standard input. A schema of a few bytes can cost any amount of time and memory, also in the middle of an
answer: so each fork has limits of both, and to reach one ends that answer alone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import zlib
from dataclasses import dataclass
from itertools import count, pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from ...child_log import tell_exception
from ...errors import InferenceFailed, VisionError
from ...guard import guard_process
from ..tasks.chat import JsonFormat, response_format_from_json
from .grammar import Grammars
from .messages import ENDED, GAVE_UP, MASK, REFUSED, TOKEN_BYTES, GrammarLimits


@dataclass(frozen=True)
class _Fork:
    """A process and its end of the model's socket: the model is told there how the process ended."""

    pid: int
    channel: Connection


class GrammarServer:
    """The forks of one model.

    Args:
        control: where the model sends a socket for each fork that it wants.
        grammars: of the model's tokenizer; None where it cannot be read.
        limits: of each fork.
    """

    def __init__(self, control: socket.socket, grammars: Grammars | None, limits: GrammarLimits) -> None:
        self._control = control
        self._grammars = grammars
        self._limits = limits
        self._forks: dict[int, _Fork] = {}
        """By descriptor."""
        self._turn = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)

    def serve(self) -> NoReturn:
        """Fork until the model is gone."""
        ended, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(ended, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poller.poll()}
            for descriptor in ready & self._forks.keys():  # nobody waits for it any more
                poller.unregister(descriptor)
                os.kill(self._forks[descriptor].pid, signal.SIGKILL)
            if ended in ready:
                os.read(ended, 4096)
                self._reap(poller)
            if self._control.fileno() in ready:
                self._fork(poller)

    def _fork(self, poller: select.poll) -> None:
        message, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        if not message:
            os._exit(0)
        (descriptor,) = descriptors
        server = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:  # the model hears of it, since nobody else has the socket
            print(f"the system refuses to fork: {error.strerror}", file=sys.stderr)
            os.close(descriptor)
            return
        if pid == 0:
            _become_small(server, {descriptor, self._turn.fileno()}, self._limits)
            self._follow(descriptor)
        self._forks[descriptor] = _Fork(pid, Connection(descriptor))
        poller.register(descriptor, 0)  # 0: only that the model has closed its side

    def _reap(self, poller: select.poll) -> None:
        """Tell the model which processes have ended, and how."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                (descriptor,) = (number for number, fork in self._forks.items() if fork.pid == pid)
                fork = self._forks.pop(descriptor)
                with contextlib.suppress(KeyError):
                    poller.unregister(descriptor)
                with contextlib.suppress(OSError), fork.channel:
                    fork.channel.send_bytes(ENDED + b"%d" % os.waitstatus_to_exitcode(status))

    def _follow(self, descriptor: int) -> NoReturn:
        """Be the process of one answer."""
        status = 1
        try:
            with Connection(descriptor) as channel, contextlib.suppress(EOFError, ConnectionError):
                self._answer(channel)
            status = 0
        except (MemoryError, RecursionError):
            status = GAVE_UP
        except BaseException as error:
            status = GAVE_UP if type(error).__name__ == "PanicException" else 1  # Rust's, at a schema that it dislikes
            tell_exception(error)
        finally:
            os._exit(status)

    def _answer(self, channel: Connection) -> None:
        if self._grammars:
            _warm(self._grammars)
        wanted = response_format_from_json(json.loads(channel.recv_bytes()))
        assert wanted  # noqa: S101
        try:
            if not self._grammars:
                raise InferenceFailed("the tokenizer of this model is of a kind that cannot follow a schema")
            fcntl.lockf(self._turn, fcntl.LOCK_EX)  # one at a time: they must leave the cores to the model
            grammar = self._grammars.grammar(wanted)
            mask = grammar.mask()
            fcntl.lockf(self._turn, fcntl.LOCK_UN)
            for taken in count(1):
                channel.send_bytes(MASK + mask)
                grammar.take(int.from_bytes(channel.recv_bytes(TOKEN_BYTES), "big"))
                if taken % self._limits.tokens_a_second == 0:
                    _allow_seconds(self._limits.cpu_seconds + taken // self._limits.tokens_a_second)
                mask = grammar.mask()
        except VisionError as error:
            told = {"code": error.code, "detail": error.detail, "param": error.param}
            channel.send_bytes(REFUSED + json.dumps(told).encode())


def _become_small(server: int, kept: set[int], limits: GrammarLimits) -> None:
    """Keep nothing of the server's but some descriptors, and have limits."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    guard_process(server)
    faulthandler.disable()  # a limit that is reached is no fault
    for low, high in pairwise([2, *sorted(kept), 65536]):
        os.closerange(low + 1, high)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = _addresses() + limits.memory_bytes
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    _allow_seconds(limits.cpu_seconds)


def _addresses() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _allow_seconds(seconds: int) -> None:
    """Let the process use so much CPU time in all."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


def _warm(grammars: Grammars) -> None:
    """Do what is only done once: in the server for all forks, and in each what they do not share."""
    grammars.grammar(JsonFormat()).mask()


def main() -> None:
    """Read the tokenizer, then serve."""
    descriptor, parent_pid, argument = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    guard_process(parent_pid)
    try:
        grammars = Grammars(zlib.decompress(sys.stdin.buffer.read()).decode(), argument["ends"], argument["width"])
    except ValueError as error:
        print(error, file=sys.stderr)
        grammars = None
    if grammars:
        _warm(grammars)
    gc.collect()
    gc.freeze()  # they share what is never looked at again
    GrammarServer(socket.socket(fileno=descriptor), grammars, GrammarLimits(**argument["limits"])).serve()


if __name__ == "__main__":
    main()
