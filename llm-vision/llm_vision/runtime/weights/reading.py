"""Reads small files of a volume, whatever somebody has put in their place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def read_small(file: Path, most_bytes: int) -> bytes:
    """The bytes of a file; one that is a pipe or a device is not waited for.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, or larger than it may be.
    """
    descriptor = os.open(file, OPEN_FLAGS)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = opened.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError("too large")
    return content
