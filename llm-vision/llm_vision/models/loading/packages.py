"""Finds weights that come inside installed packages, without importing these."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path


def package_files(package: str, pattern: str) -> Iterable[Path]:
    """The files of a package that match a pattern; none when it is not installed."""
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    return [file for folder in folders for file in Path(folder).glob(pattern)]
