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
    folder = _nearest(volume)
    user = os.geteuid()
    if text := unreadable(volume):
        return text
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{volume} is read-only: nothing can be downloaded to it"
    if not os.access(folder, os.W_OK):
        return f"user {user} cannot write {volume}, so nothing can be downloaded to it: {_remedy(folder, user)}"
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        return f"{volume} has {free // _MIB} MiB free, too little to download weights to it: make room there"
    return None


def unreadable(volume: Path) -> str | None:
    """Why a folder, or the nearest one above it that is there, cannot be read; None when it can."""
    folder, user = _nearest(volume), os.geteuid()
    if os.access(folder, os.R_OK | os.X_OK):
        return None
    return f"user {user} cannot read {folder}: {_remedy(folder, user)}"


def _nearest(folder: Path) -> Path:
    folder = folder.absolute()
    while not _is_there(folder):
        folder = folder.parent
    return folder


def _is_there(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:  # in a folder that cannot be entered
        return False


def _remedy(folder: Path, user: int) -> str:
    state = folder.stat()
    if state.st_uid == user and state.st_mode & 0o700 == 0o700:
        return "it belongs to this user already, so SELinux or the like forbids it on the host"
    return (
        f"it belongs to user {state.st_uid} with mode {state.st_mode & 0o777:o}; on the host, run "
        f'"sudo chown -R {user}:{os.getegid()}" on the folder that is mounted there'
    )
