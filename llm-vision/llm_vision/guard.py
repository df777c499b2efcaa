"""What every child process does first."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import resource
import signal
import sys
from pathlib import Path

from .child_log import log_to_gateway
from .neighbours import hide_neighbours

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STACK_BYTES = 64 * 1024 * 1024  # of the threads that libraries start for each core; most of it is never used
_OOM_SCORE_ADJ = "500"  # when memory runs out the kernel ends a child, which restarts, not the gateway


def guard_process(parent_pid: int) -> None:
    """Die with the parent, ignore Ctrl+C, be the first to go when memory runs out, and see no neighbours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    log_to_gateway()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJ)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(0)
    hide_neighbours()


def limit_memory(most_bytes: int) -> None:
    """Let this process take no more memory: what asks for more fails, here and not in the whole machine.

    Linux counts what is private and writable, used or not, but not what CUDA maps; elsewhere there is no limit.
    """
    if sys.platform == "linux":
        room = most_bytes + (os.cpu_count() or 1) * _STACK_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (room if hard == resource.RLIM_INFINITY else min(room, hard), hard))
