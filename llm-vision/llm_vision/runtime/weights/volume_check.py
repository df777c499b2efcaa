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
    if text := unreadable(volume):
        return text
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{volume} is read-only: nothing can be downloaded to it"
    if text := unwritable(volume):
        return text
    free = free_bytes(volume)
    if free < _LEAST_FREE_BYTES:
        return f"{volume} has {free // _MIB} MiB free, too little to download weights to it: make room there"
    return None


def free_bytes(volume: Path) -> int:
    """Room on a volume, or where its folder will be made."""
    return shutil.disk_usage(_nearest(volume)).free


def unreadable(path: Path) -> str | None:
    """Why a file or folder, or the nearest folder above it that is there, cannot be read; None when it can."""
    return _forbidden(_nearest(path), os.R_OK, "cannot read {}")


def unwritable(path: Path) -> str | None:
    """Why a file or folder, or the nearest folder above it that is there, cannot be written; None when it can."""
    return _forbidden(_nearest(path), os.W_OK, "cannot write {}, so nothing can be downloaded to it")


def _forbidden(path: Path, wanted: int, text: str) -> str | None:
    needed = wanted | os.X_OK if path.is_dir() else wanted
    if os.access(path, needed):
        return None
    return f"user {os.geteuid()} {text.format(path)}: {_remedy(path, needed)}"


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


def _remedy(path: Path, needed: int) -> str:
    state, user = path.stat(), os.geteuid()
    is_ours, is_open = state.st_uid == user, state.st_mode >> 6 & needed == needed
    if is_ours and is_open:
        return "it belongs to this user already, so SELinux or the like forbids it on the host"
    steps = [] if is_ours else [f'"sudo chown -R {user}:{os.getegid()}"']
    steps += [] if is_open else ['"sudo chmod -R u+rwX"']
    return (
        f"it belongs to user {state.st_uid} with mode {state.st_mode & 0o777:o}; on the host, run "
        f"{' and '.join(steps)} on the folder that is mounted there{_as_its_owner(state) if is_open else ''}"
    )


def _as_its_owner(state: os.stat_result) -> str:
    """The other way, where the owner may do what is wanted."""
    where = "" if state.st_uid else "with rootless Docker "
    return f", or {where}set VISION_UID={state.st_uid} and VISION_GID={state.st_gid}"
