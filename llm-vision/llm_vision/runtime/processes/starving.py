"""How long a process could have run and has not, because the machine had too much else to do."""

from __future__ import annotations

import contextlib
from pathlib import Path


class Starving:
    """Of a process, since this was made.

    Args:
        pid: the process's.
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}/task")
        self._before = self._waits()

    @property
    def seconds(self) -> float:
        """What its most starved thread has waited for a core; 0 where the system does not tell (Linux does)."""
        waits = self._waits()
        return max((wait - self._before.get(thread, 0) for thread, wait in waits.items()), default=0) / 1e9

    def _waits(self) -> dict[str, int]:
        """Nanoseconds by thread: the second number of `schedstat` (Documentation/scheduler/sched-stats.rst)."""
        found: dict[str, int] = {}
        with contextlib.suppress(OSError):
            for thread in self._folder.iterdir():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        return found
