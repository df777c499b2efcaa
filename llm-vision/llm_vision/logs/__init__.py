"""Log lines as text or JSON, each with the id of the request that caused it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from .pipe import PipeHandler

log = logging.getLogger(__name__)

request_id: ContextVar[str] = ContextVar("request_id", default="-")
answer_fields: ContextVar[dict[str, object]] = ContextVar("answer_fields")
"""What the line about the answer to the current request will say besides."""

LogFormat = Literal["text", "json"]

_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


def _extra_fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD_FIELDS}


class TextFormatter(logging.Formatter):
    """`time level [request id] message key=value`, one line for people."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = "".join(f" {key}={value}" for key, value in _extra_fields(record).items())
        line = f"{time} {record.levelname:<7} [{request_id.get()}] {record.getMessage()}{fields}"
        return line + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for machines; what a message names is a field as well."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": request_id.get(),
            "message": record.getMessage(),
            **(record.args if isinstance(record.args, dict) else {}),
            **_extra_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def note_for_answer(**fields: object) -> None:
    """Have the line about the answer to the current request say this, too."""
    with contextlib.suppress(LookupError):  # nobody asked: a load at the start
        answer_fields.get().update(fields)


def configure(level: str, log_format: LogFormat) -> None:
    """Send every log line of this process to standard error in one format, and all that Python would print there."""
    handler = PipeHandler(sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY))
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("uvicorn.access", "multipart", "python_multipart", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for own_handlers in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(own_handlers).handlers.clear()
        logging.getLogger(own_handlers).propagate = True
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_uncaught
    sys.unraisablehook = _log_uncaught


def _log_uncaught(failure: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    if failure.exc_value:
        log.error("an error that nobody catches", exc_info=failure.exc_value)


def count_lost(count: Callable[[], None]) -> None:
    """Have each line counted that is lost because nobody reads the log."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PipeHandler):
            handler.on_lost = count
