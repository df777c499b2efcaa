"""What is remembered of a model that did not load, so that not every request tries again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ...errors import VisionError

RETRY_LOAD = 30  # seconds after which a client may ask again for a model that did not load
_LONGEST_PAUSE_SECONDS = 300.0
_MOST_DOUBLINGS = 20  # a float has an end
Stamps = frozenset[tuple[str, int, int]]
"""Path, size and time of change of files."""


class LoadFailures:
    """The failed loads of one model since it last loaded."""

    def __init__(self) -> None:
        self._count = 0
        self._at = 0.0
        self._files: Stamps | None = None
        self.last: VisionError | None = None

    def remember(self, error: VisionError, now: float) -> None:
        """A load has failed."""
        self.last, self._at, self._files = error, now, None
        self._count += 1

    def remember_files(self, files: Stamps) -> None:
        """What the load that failed has seen."""
        self._files = files

    def forget(self) -> None:
        """A load has succeeded."""
        self.last, self._count = None, 0

    def pause_left(self, now: float, pause: float) -> float:
        """Seconds until a load is worth its while again: `pause` after a failure, twice as long after each further one.

        Zero or less when nothing has failed, or the pause is over.
        """
        if self.last is None:
            return 0.0
        doubled = pause * 2.0 ** min(self._count - 1, _MOST_DOUBLINGS)
        return self._at + min(doubled, _LONGEST_PAUSE_SECONDS) - now

    def check(self, now: float, pause: float, files: Stamps | None = None) -> None:
        """Refuse a load in the pause after a failure.

        A change of the model's files makes a new try worth its while at once.

        Raises:
            VisionError: the last failure.
        """
        wait = self.pause_left(now, pause)
        if self.last and wait > 0 and (self._files is None or files == self._files):
            raise type(self.last)(self.last.detail, retry_after=max(1, int(wait)))


def file_stamps(files: Iterable[Path]) -> Stamps:
    """The stamps of the files that are there, read from their volume."""
    stamps = set()
    for file in files:
        with contextlib.suppress(OSError):
            status = file.stat()
            stamps.add((str(file), status.st_size, status.st_mtime_ns))
    return frozenset(stamps)
