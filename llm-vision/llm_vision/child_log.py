"""What a child process tells the gateway's log: our own lines have a level, whatever libraries print is for DEBUG."""

from __future__ import annotations

import logging
import sys
import traceback

_MARK = "\x1e"
"""Before the level of a line of ours; no library prints it."""


def tell(level: int, text: str) -> None:
    """Print lines that the gateway logs with this level."""
    marked = [f"{_MARK}{level} {line}\n" for line in text.splitlines() if line.strip()]
    sys.stderr.write("".join(marked))
    sys.stderr.flush()


def tell_exception(error: BaseException, level: int = logging.ERROR) -> None:
    """Print an exception with its traceback."""
    tell(level, "".join(traceback.format_exception(error)))


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.levelno, self.format(record))


def log_to_gateway() -> None:
    """Send what this package logs in a child process to the gateway."""
    ours = logging.getLogger("llm_vision")
    ours.addHandler(_Handler())
    ours.setLevel(logging.INFO)
    ours.propagate = False


def read_line(line: str) -> tuple[int | None, str]:
    """Level and text of a line that a child process printed; no level where a library printed it."""
    level, space, text = line.partition(" ")
    if space and level.startswith(_MARK) and level[1:].isdecimal():
        return int(level[1:]), text
    return None, line
