"""What every child process does first."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OOM_SCORE_ADJ = "500"  # when memory runs out the kernel ends a child, which restarts, not the gateway


def guard_process(parent_pid: int) -> None:
    """Die with the parent, ignore the terminal's Ctrl+C, and be the first to go when memory runs out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(0)
