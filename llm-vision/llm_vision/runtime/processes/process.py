"""One child process as the gateway sees it: started, talked to, noticed when it dies, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Self

import psutil

from ...child_log import read_line
from . import wire

log = logging.getLogger(__name__)

# What a library may need; keys and other secrets of the gateway stay with the gateway.
_PASSED_VARIABLES = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH")
_PASSED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "COVERAGE_")
_HUB = "HF_"
_LOG_CHUNK_BYTES = 64 * 1024
_LOG_LINE_CHARS = 2000
_LAST_WORDS = 40  # lines of libraries that are logged when the process crashes
EXIT_SECONDS = 1.0
"""Until a process whose connection has ended is gone; to kill it at once would hide its exit status."""
_LAST_LOG_SECONDS = 1.0  # a process that the child started may hold the pipe open


@dataclass(frozen=True)
class Command:
    """What to start: `python -P -m MODULE FD PARENT_PID ARGUMENT_AS_JSON`."""

    name: str
    """Stands in log lines."""
    module: str
    argument: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def hub_variables() -> dict[str, str]:
    """The variables of the Hugging Face library, its secrets among them; empty is unset, as in .env."""
    return {name: value for name, value in os.environ.items() if name.startswith(_HUB) and value}


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    passed = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_VARIABLES or name.startswith(_PASSED_PREFIXES)
    }
    hub = {name: value for name, value in hub_variables().items() if not _may_hold_secret(name)}
    return {**passed, **hub, **extra}


def _may_hold_secret(hub_variable: str) -> bool:
    """An address may hold a password."""
    return "TOKEN" in hub_variable or hub_variable == "HF_ENDPOINT"


class ChildProcess:
    """A running child process. Make one with `spawn`, and always `close` it."""

    def __init__(self, process: asyncio.subprocess.Process, sock: socket.socket, name: str) -> None:
        self._process = process
        self._sock = sock
        self._name = name
        self._outbox: asyncio.Queue[tuple[wire.Header, Sequence[bytes | bytearray]]] = asyncio.Queue()
        self._closing: asyncio.Task[int] | None = None
        self._is_killed = False
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._log_fields = {"worker": name, "pid": process.pid}
        outside = Context()  # these outlive the request that needed the process, and must not log its id
        self._tasks = (
            asyncio.create_task(self._copy_log(), context=outside),
            asyncio.create_task(self._send_forever(), context=outside),
        )

    @classmethod
    async def spawn(cls, command: Command) -> Self:
        """Start a process on the event loop's own thread: the kernel ends it when that thread ends.

        Raises:
            OSError: the operating system could not start a process.
        """
        ours, theirs = wire.socket_pair()
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", command.module,
                str(theirs.fileno()), str(os.getpid()), json.dumps(command.argument),
                pass_fds=(theirs.fileno(),),
                process_group=0,
                env=_environment(command.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, command.name)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it is not known to have ended."""
        return self._process.returncode is None

    @property
    def memory_bytes(self) -> int:
        """Resident memory now; 0 when the process is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def send(self, header: wire.Header, buffers: Sequence[bytes | bytearray] = ()) -> None:
        """Queue a message; messages arrive in order."""
        self._outbox.put_nowait((header, buffers))

    async def receive(self) -> tuple[wire.Header, bytearray]:
        """The next message of the process, and its payload.

        Raises:
            PeerClosed, BadFrame, OSError: the process is gone or broken.
        """
        return await wire.receive(self._sock)

    async def messages(self) -> AsyncIterator[wire.Header]:
        """What the process sends, until it ends."""
        with contextlib.suppress(wire.PeerClosed, wire.BadFrame, OSError):
            while True:
                header, _ = await self.receive()
                yield header

    def kill(self) -> None:
        """End the process now, whatever it does."""
        self._is_killed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self, grace: float = 0) -> int:
        """Ask the process to stop, kill it after `grace` seconds, free everything; its exit status.

        Whoever leaves in the middle does not leave it half closed.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(grace), context=Context())
        return await asyncio.shield(self._closing)

    async def _close(self, grace: float) -> int:
        self.send({"type": "stop"})
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self.kill()
        status = await self._process.wait()
        await asyncio.wait(self._tasks[:1], timeout=_LAST_LOG_SECONDS)
        if status < 0 and not self._is_killed:  # a library crashed: what it printed says why
            for line in self._last_words:
                log.warning("%s", line, extra=self._log_fields)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()
        return status

    async def _send_forever(self) -> None:
        try:
            while True:
                header, buffers = await self._outbox.get()
                await wire.send(self._sock, header, buffers)
                del buffers  # a picture must not stay until the next message
        except OSError:
            return
        except wire.BadFrame:
            log.exception("a message is larger than it may be", extra={"worker": self._name})
            self.kill()

    async def _copy_log(self) -> None:
        """Copy the process's output into our log; in chunks, since libraries print lines of any length."""
        assert self._process.stdout is not None  # noqa: S101
        unfinished = b""
        while chunk := await self._process.stdout.read(_LOG_CHUNK_BYTES):
            *lines, unfinished = (unfinished + chunk).split(b"\n")
            if len(unfinished) > _LOG_CHUNK_BYTES:
                lines, unfinished = [*lines, unfinished], b""
            for line in lines:
                self._log_line(line.decode("utf-8", "replace"))
        self._log_line(unfinished.decode("utf-8", "replace"))

    def _log_line(self, line: str) -> None:
        level, text = read_line(line.rstrip())
        if level is None and text.strip():
            self._last_words.append(text[:_LOG_LINE_CHARS])
        if text.strip():
            log.log(level or logging.DEBUG, "%s", text[:_LOG_LINE_CHARS], extra=self._log_fields)
