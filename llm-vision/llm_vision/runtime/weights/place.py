"""Where downloaded weights lie on a volume: while they come, when they are whole, and the lock of who writes."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...models.base import UnusableWeights
from .manifest import MANIFEST, Manifest, read_manifest

_UNFINISHED = ".downloads"


@dataclass(frozen=True)
class DownloadPlace:
    """A repository's places on a volume."""

    root: Path
    """Where the volume is mounted."""
    repo: str
    """`owner/name`"""

    @property
    def home(self) -> Path:
        """Where whole weights lie."""
        return self.root / self.repo

    @property
    def work(self) -> Path:
        """Where files lie until all have come; on the same volume, so that they move at once."""
        return self.root / _UNFINISHED / self.repo.replace("/", "--")

    @property
    def manifest(self) -> Manifest | None:
        """That of weights which this service has downloaded; None for all others."""
        try:
            manifest = read_manifest(self.home)
        except UnusableWeights:
            return None
        return manifest if manifest and manifest.downloaded else None

    @property
    def is_torn(self) -> bool:
        """Whether files of downloaded weights are missing: a damaged one was removed."""
        manifest = self.manifest
        return manifest is not None and not all((self.home / name).is_file() for name in manifest.files)

    @property
    def is_whole(self) -> bool:
        """Whether the downloaded weights are there."""
        return self.manifest is not None and not self.is_torn

    @property
    def begun_bytes(self) -> int:
        """What has come of a download that has not ended."""
        try:
            return sum(file.stat().st_size for file in self.work.iterdir())
        except OSError:
            return 0

    @contextmanager
    def claimed(self, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Be the only one, in any process on any machine that shares the volume, who writes here.

        Args:
            on_wait: called before waiting for somebody else; without it, we do not wait.

        Raises:
            BlockingIOError: somebody else writes, and we are not to wait.
            OSError: the volume cannot be written.
        """
        self.work.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.work.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor, on_wait)
            yield
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove what was downloaded, whole or not; files that somebody else has put there stay."""
        manifest = self.manifest
        if manifest:
            for name in ("config.json", *manifest.files, MANIFEST):  # without a config they are no weights any more
                (self.home / name).unlink(missing_ok=True)
            if not any(self.home.iterdir()):
                self.home.rmdir()
        shutil.rmtree(self.work, ignore_errors=True)


def _lock(descriptor: int, on_wait: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if on_wait is None:
            raise
        on_wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
