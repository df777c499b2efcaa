"""What is wrong with a volume, in words that say what to do; looked at anew each time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_LEAST_FREE_BYTES = 512 * 1024 * 1024
"""Less than the smallest weights need."""
_MIB = 1024 * 1024


def complaint(volume: Path) -> str | None:
    """Why weights cannot be read from a volume or downloaded to it; None when they can.

    Args:
        volume: where it is mounted; a folder that is not there yet counts as its nearest parent.
    """
    folder = volume.absolute()
    while not _is_there(folder):
        folder = folder.parent
    user = os.geteuid()
    if not os.access(folder, os.R_OK | os.X_OK):
        return f"user {user} cannot read {volume}: {_remedy(folder, user)}"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{volume} is read-only: nothing can be downloaded to it"
    if not os.access(folder, os.W_OK):
        return f"user {user} cannot write {volume}, so nothing can be downloaded to it: {_remedy(folder, user)}"
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        return f"{volume} has {free // _MIB} MiB free, too little to download weights to it: make room there"
    return None


def _is_there(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:  # in a folder that cannot be entered
        return False


def _remedy(folder: Path, user: int) -> str:
    state = folder.stat()
    return (
        f"it belongs to user {state.st_uid} with mode {state.st_mode & 0o777:o}; on the host, run "
        f'"sudo chown -R {user}:{os.getegid()}" on the folder that is mounted there'
    )
