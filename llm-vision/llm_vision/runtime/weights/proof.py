"""Proves, in a worker process, that the files which a model loads are those of their manifest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from ...models.base import UnusableWeights
from .files import check_files
from .manifest import FileRecord, Manifest, read_manifest, record_of, weight_files, write_manifest
from .numbers import check_numbers

_MOST_THREADS = 4  # hashing releases Python's lock, and large models come in several files


@contextmanager
def proven(folder: Path | None, *, may_repair: bool) -> Iterator[None]:
    """Load a model inside: its files are hashed beside it, and it is of use only when they are right.

    Before that, they are files of sane sizes, with sane numbers in them. A folder without a manifest gets one after its
    first good load, where it can be written.

    Args:
        folder: where the files are; None where they are part of a package.
        may_repair: whether a damaged file that this service has downloaded is removed, to be downloaded again.

    Raises:
        UnusableWeights: the files are not those of the manifest, whatever the load itself has raised; or no model's.
    """
    if folder:
        check_files(folder)
    manifest = read_manifest(folder) if folder else None
    if folder is None or (manifest is None and not os.access(folder, os.W_OK)):
        if folder:
            check_numbers(folder)
        yield
        return
    files = weight_files(folder)
    if manifest:
        sizes = {name: record.size for name, record in manifest.files.items()}
        _compare(folder, manifest, {file.name: file.stat().st_size for file in files}, sizes, may_repair)
    with ThreadPoolExecutor(_MOST_THREADS) as threads:
        hashing = {file.name: threads.submit(_record_of, file) for file in files}
        try:
            check_numbers(folder)
            yield
        finally:
            records = {name: future.result() for name, future in hashing.items()}
            if manifest:
                _compare(folder, manifest, records, manifest.files, may_repair)
    if manifest is None:
        with contextlib.suppress(OSError):
            write_manifest(folder, Manifest(records))


def _record_of(file: Path) -> FileRecord:
    try:
        return record_of(file)
    except OSError as error:
        raise UnusableWeights(f"{file.name} cannot be read") from error


def _compare(
    folder: Path, manifest: Manifest, present: Mapping[str, object], recorded: Mapping[str, object], may_repair: bool
) -> None:
    different = sorted(name for name, what in recorded.items() if present.get(name) != what)
    added = sorted(present.keys() - recorded.keys())
    if added:
        raise UnusableWeights(f"{added[0]} is not in manifest.json; if you added it on purpose, remove manifest.json")
    if not different:
        return
    first = different[0]
    if not manifest.downloaded:
        raise UnusableWeights(
            f"{first} is not what manifest.json records; if the change was on purpose, remove manifest.json"
        )
    if manifest.repairs:
        raise UnusableWeights(
            f"{first} is damaged again after it was downloaded anew; check the disk, then delete the model"
        )
    if not may_repair:
        raise UnusableWeights(f"{first} is damaged, and it may not be downloaded again")
    try:
        for name in different:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UnusableWeights(f"{first} is damaged, and the volume cannot be written") from error
    raise UnusableWeights(f"{first} was damaged and is removed; the next request downloads it again")
