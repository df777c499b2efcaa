"""Finds the weights of models on the mounted volumes, in any of the layouts that people put them there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ...errors import ModelLoadFailed
from ...models.base import ModelSpec, Volume, Weights
from .failures import RETRY_LOAD
from .looks import VolumeLooks
from .place import DownloadPlace
from .reading import read_small
from .sizes import most_bytes
from .volume_check import complaint, unreadable, unwritable

_CONFIG = "config.json"
_REF_BYTES = 1024  # of the name of a commit in a hub cache


class WeightsPresence(StrEnum):
    """How much of a model's weights is on its volume."""

    PRESENT = "present"
    PARTIAL = "partial"
    MISSING = "missing"


@dataclass(frozen=True)
class Inventory:
    """What is on the volume of a model's weights."""

    presence: WeightsPresence
    size_bytes: int
    """Of its files; what has come so far of a download."""


@dataclass(frozen=True)
class LocatedWeights:
    """Where a model's weights are when it loads."""

    folder: Path | None = None
    """None when they are part of a package."""
    size_bytes: int = 0
    """With 16 bits; 0 where they cannot be quantised."""


class WeightStore:
    """The volumes, looked at anew each time: files come and go while the service runs.

    Args:
        volumes: where each is mounted.
    """

    def __init__(self, volumes: Mapping[Volume, Path]) -> None:
        self._volumes = volumes
        self.look = VolumeLooks()
        """Where the event loop calls the methods below: they read the volumes."""

    def folder(self, weights: Weights) -> Path | None:
        """The folder with a model's files; None when there is none.

        These layouts are known, in this order, for `owner/name` on a volume: the files themselves,
        `owner/name/`, `name/`, and a hub cache with `models--owner--name/`. What was downloaded into `owner/name/`
        does not count while a file of it is missing.
        """
        root = self._volumes[weights.volume]
        for candidate in (*_named(root, weights), *_snapshots(root, weights)):
            if os.access(candidate / _CONFIG, os.R_OK):  # never raises, whatever is in the way
                place = self.place(weights)
                if candidate != place.home or not place.is_torn:
                    return candidate
        return root if _is_of_kind(root / _CONFIG, weights.kind) else None

    def place(self, weights: Weights) -> DownloadPlace:
        """Where downloaded weights go."""
        return DownloadPlace(self._volumes[weights.volume], weights.repo)

    def files(self, spec: ModelSpec) -> Iterable[Path]:
        """What a model loads; where there is nothing, the places that would change if there were."""
        if spec.weights is None:
            return spec.weight_files()
        folder = self.folder(spec.weights)
        root = self._volumes[spec.weights.volume]
        return sorted(folder.glob("*")) if folder else (root, root / spec.weights.repo.partition("/")[0])

    def inventory(self, weights: Weights) -> Inventory:
        """What is there of a model's weights."""
        place, folder = self.place(weights), self.folder(weights)
        if folder:
            names = {file.name: file.stat().st_size for file in folder.glob("*") if file.is_file()}
            suffixes = (".safetensors", ".bin") if weights.may_be_pickled else (".safetensors",)
            is_whole = any(name.endswith(suffixes) for name in names)
            return Inventory(WeightsPresence.PRESENT if is_whole else WeightsPresence.PARTIAL, sum(names.values()))
        begun = place.begun_bytes
        return Inventory(WeightsPresence.PARTIAL if begun or place.is_torn else WeightsPresence.MISSING, begun)

    def size_bytes(self, weights: Weights) -> int:
        """Size of a model's safetensors, which is that of its weights with 16 bits; 0 when there are none."""
        folder = self.folder(weights)
        return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder else 0

    def locate(self, spec: ModelSpec) -> LocatedWeights:
        """Where a model's weights are, and how large.

        Raises:
            ModelLoadFailed: see `required`.
        """
        folder = self.required(spec)
        return LocatedWeights(folder, self.size_bytes(spec.weights) if spec.weights and spec.quantizable else 0)

    def required(self, spec: ModelSpec) -> Path | None:
        """The folder that a model loads from; None when its weights are part of a package.

        Raises:
            ModelLoadFailed: there is none, or it was downloaded at another commit than the pinned one.
        """
        if spec.weights is None:
            return None
        folder = self.folder(spec.weights)
        if folder is None:
            raise ModelLoadFailed(f"no weights for {spec.model_id}: {self.whereabouts(spec)}", retry_after=RETRY_LOAD)
        place, pinned = self.place(spec.weights), spec.weights.revision
        manifest = place.manifest if pinned and folder == place.home else None
        if manifest and manifest.commit != pinned:
            raise ModelLoadFailed(
                f"the weights of {spec.model_id} were downloaded at commit {manifest.commit}, and {pinned} is pinned: "
                "delete the model, then the pinned one is downloaded",
                retry_after=RETRY_LOAD,
            )
        return folder

    def whereabouts(self, spec: ModelSpec) -> str:
        """How an operator brings a model's weights, and what is wrong with their volume, in words."""
        weights = spec.weights
        assert weights is not None  # noqa: S101
        if text := self.hidden(weights):
            return text
        name = weights.repo.rpartition("/")[2]
        where = (
            f"run `llm-vision models download {spec.model_id}`, or put the files of {weights.repo} into the folder "
            f"{name} on the {weights.volume.value} volume"
        )
        place = self.place(weights)
        written = (place.work.with_suffix(".lock"), place.work, place.home)
        return "; ".join(filter(None, (where, complaint(place.root) or _first(map(unwritable, written)))))

    def hidden(self, weights: Weights) -> str | None:
        """Why files that may be a model's cannot be read, in words; None when it is not for want of rights."""
        root = self._volumes[weights.volume]
        if unreadable(root):
            return None
        folders = (root, *_named(root, weights), _cache(root, weights) / "snapshots", *_snapshots(root, weights))
        return _first(unreadable(path) for folder in folders for path in (folder, folder / _CONFIG))

    def complaints(self) -> list[str]:
        """What is wrong with the volumes, in words."""
        unfinished = {volume: DownloadPlace(volume, "any").work.parent for volume in self._volumes.values()}
        return [text for volume in unfinished if (text := complaint(volume) or unwritable(unfinished[volume]))]


def _first(texts: Iterable[str | None]) -> str | None:
    return next(filter(None, texts), None)


def _is_of_kind(config: Path, kind: str) -> bool:
    """Whether it is the config of such a model; one that cannot be understood is for the load to refuse."""
    try:
        return bool(json.loads(read_small(config, most_bytes(config.name))).get("model_type", kind) == kind)
    except (ValueError, AttributeError, RecursionError):
        return True
    except OSError:
        return False


def _named(root: Path, weights: Weights) -> tuple[Path, Path]:
    """The folders that have a model's name."""
    return root / weights.repo, root / weights.repo.rpartition("/")[2]


def _cache(root: Path, weights: Weights) -> Path:
    """A model's folder in a hub cache."""
    return root / f"models--{weights.repo.replace('/', '--')}"


def _snapshots(root: Path, weights: Weights) -> Iterable[Path]:
    """The snapshots of a hub cache, the wanted revision first, else the one that `main` names, else any."""
    repo = _cache(root, weights)
    if not os.access(repo / "snapshots", os.R_OK | os.X_OK):
        return []
    wanted = weights.revision or _read(repo / "refs" / "main")
    snapshots = sorted((repo / "snapshots").glob("*"))
    if weights.revision:
        return [folder for folder in snapshots if folder.name == weights.revision]
    return sorted(snapshots, key=lambda folder: folder.name != wanted)


def _read(file: Path) -> str:
    try:
        return read_small(file, _REF_BYTES).decode().strip()
    except (OSError, ValueError):
        return ""
