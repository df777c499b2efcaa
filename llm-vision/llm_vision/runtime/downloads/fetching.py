"""Fetches a model's files into their working folder, proves each, and moves all to their place at once.

Runs in a download process only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...models.base import UnusableWeights
from ..weights.manifest import MANIFEST, FileRecord, Manifest, read_manifest, record_of, write_manifest
from ..weights.place import DownloadPlace
from . import hub
from .listing import HubFile

PICKLED, SAFE = "pytorch_model.bin", "model.safetensors"
_PARTIAL = ".partial"
_RESERVE_BYTES = 256 * 1024 * 1024  # that a download leaves free on its volume
_MIB = 1024 * 1024


class NoSpace(Exception):
    """The volume has too little room; the text is for people."""


@dataclass(frozen=True)
class Fetching:
    """The download of one repository.

    Args:
        place: where it goes.
        revision: a commit, or a branch.
        may_be_pickled: whether a `pytorch_model.bin` is taken where there are no safetensors, and converted.
        told: called with the state and the sum of the files' bytes, when they are known and when they change.
    """

    place: DownloadPlace
    revision: str
    may_be_pickled: bool
    told: Callable[[str, int], None]

    def run(self) -> None:
        """Fetch everything that is not there yet; the place is claimed by the caller.

        Raises:
            HubFailed, UnusableWeights: the hub did not give what is needed.
            NoSpace, OSError: the volume cannot take it.
        """
        repairs = self._take_over()
        listing = hub.list_files(self.place.repo, self.revision)
        wanted = chosen(listing.files, may_be_pickled=self.may_be_pickled)
        total = sum(file.size for file in wanted)
        self._check_space(wanted)
        self.told("downloading", total)
        files = {file.name: self._fetch_proven(listing.commit, file) for file in wanted}
        pickled = files.pop(PICKLED, None)
        if pickled:
            files[SAFE] = self._convert(total)
        source = pickled.sha256 if pickled else None
        self._publish(Manifest(files, True, self.place.repo, listing.commit, repairs, source))

    def _take_over(self) -> int:
        """Work on with the files of weights that have lost some; how often that was done, this time included."""
        home, work = self.place.home, self.place.work
        work.mkdir(parents=True, exist_ok=True)
        torn = self.place.manifest
        if torn:
            write_manifest(work, torn)
            for name in (*torn.files, MANIFEST):
                if (home / name).exists():
                    (home / name).replace(work / name)
        if home.is_dir() and any(home.iterdir()):
            raise UnusableWeights("the folder for the weights contains other files")
        kept = read_manifest(work)
        return kept.repairs + 1 if kept else 0

    def _check_space(self, wanted: Sequence[HubFile]) -> None:
        missing = sum(file.size - _size(self._target(file), self._partial(file)) for file in wanted)
        converted = sum(file.size for file in wanted if file.name == PICKLED)
        needed = missing + converted + _RESERVE_BYTES
        free = shutil.disk_usage(self.place.work).free
        if needed > free:
            raise NoSpace(f"the volume has {free // _MIB} MiB free and {needed // _MIB} MiB are needed")

    def _fetch_proven(self, commit: str, file: HubFile) -> FileRecord:
        """Fetch a file unless it is there; once more when what came is damaged."""
        target, partial = self._target(file), self._partial(file)
        if target.exists() and (record := _proof(target, file)):
            return record
        for _ in range(2):
            if _size(partial) > file.size:
                partial.unlink()
            hub.fetch(self.place.repo, commit, file, partial)
            if record := _proof(partial, file):
                _sync(partial)
                partial.replace(target)
                return record
            partial.unlink()
        raise UnusableWeights(f"{file.name} arrived damaged twice")

    def _convert(self, total: int) -> FileRecord:
        """Make safetensors of the pickled file."""
        from .convert import convert  # noqa: PLC0415  (torch takes seconds to import)

        self.told("converting", total)
        work = self.place.work
        unfinished = work / f"{SAFE}{_PARTIAL}"
        convert(work / PICKLED, unfinished)
        _sync(unfinished)
        unfinished.replace(work / SAFE)
        return record_of(work / SAFE)

    def _publish(self, manifest: Manifest) -> None:
        """Let the files appear where weights are looked for, all at once."""
        work = self.place.work
        for stale in work.iterdir():
            if stale.name not in manifest.files:
                stale.unlink()
        write_manifest(work, manifest)
        _sync(work)
        self.place.home.parent.mkdir(parents=True, exist_ok=True)
        work.rename(self.place.home)
        _sync(self.place.home.parent)

    def _target(self, file: HubFile) -> Path:
        return self.place.work / file.name

    def _partial(self, file: HubFile) -> Path:
        """Named by its content: a file that has changed on the hub is not appended to an old one."""
        return self.place.work / f"{file.name}.{(file.sha256 or file.git_sha1 or '')[:16]}{_PARTIAL}"


def chosen(files: Iterable[HubFile], *, may_be_pickled: bool) -> list[HubFile]:
    """What of a repository's weights is fetched, the small files first.

    Raises:
        UnusableWeights: nothing of it can be loaded.
    """
    known = sorted(files, key=lambda file: file.size)
    safe = [file for file in known if not file.name.endswith(".bin")]
    if not any(file.name.endswith(".safetensors") for file in safe):
        pickled = [file for file in known if file.name == PICKLED and may_be_pickled]
        if not pickled:
            raise UnusableWeights("the repository has no safetensors weights")
        safe += pickled
    if "config.json" not in {file.name for file in safe}:
        raise UnusableWeights("the repository has no config.json")
    if not all(file.sha256 or file.git_sha1 for file in safe):
        raise UnusableWeights("the hub lists no checksums, so the files cannot be verified")
    return safe


def bytes_in(work: Path) -> int:
    """What has come so far."""
    try:
        return sum(_size(file) for file in work.iterdir() if file.name not in (MANIFEST, f"{SAFE}{_PARTIAL}"))
    except OSError:
        return 0


def _size(*files: Path) -> int:
    """Of the first that is there; 0 for none."""
    for file in files:
        if file.exists():
            return file.stat().st_size
    return 0


def _proof(path: Path, file: HubFile) -> FileRecord | None:
    """What to record of a file that is what the hub has; None when it is not."""
    if path.stat().st_size != file.size:
        return None
    record = record_of(path)
    if file.sha256:
        return record if record.sha256 == file.sha256 else None
    blob = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as opened:
        hashlib.file_digest(opened, lambda: blob)
    return record if blob.hexdigest() == file.git_sha1 else None


def _sync(path: Path) -> None:
    """Let a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
