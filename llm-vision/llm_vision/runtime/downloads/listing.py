"""What a hub says a repository holds, checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from ...models.base import UnusableWeights
from ..weights.manifest import is_weight_file
from ..weights.sizes import most_bytes

_MOST_FILES = 1000
"""That a model loads; the largest come in two hundred pieces."""
_Sha1 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}\z")]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}\z")]
_Size = Annotated[int, Field(strict=True, ge=0, le=2**60)]


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, as the hub describes it."""

    name: str
    size: int
    """Bytes."""
    sha256: str | None
    """Of a large file."""
    git_sha1: str | None
    """Of a small file: that of git's blob."""


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit that a model loads."""

    commit: str
    files: tuple[HubFile, ...]


class _Large(BaseModel):
    size: _Size
    sha256: _Sha256


class _Sibling(BaseModel):
    rfilename: str
    size: _Size | None = None
    blobId: _Sha1 | None = None
    lfs: _Large | None = None


class _Answer(BaseModel):
    sha: _Sha1
    siblings: list[dict[str, Any]]


def read_listing(body: bytes | bytearray) -> Listing:
    """The hub's answer about a model, with `blobs=true`; files that no model loads are left out.

    Raises:
        UnusableWeights: it is none, or names what cannot be.
    """
    try:
        answer = _Answer.model_validate_json(body)
        files = tuple(_file(_Sibling.model_validate(one)) for one in answer.siblings if _is_wanted(one))
    except ValidationError:
        raise UnusableWeights("the hub lists files, sizes or checksums that cannot be") from None
    _check(files)
    return Listing(answer.sha, files)


def _is_wanted(sibling: dict[str, Any]) -> bool:
    name = sibling.get("rfilename")
    return isinstance(name, str) and is_weight_file(name)


def _file(sibling: _Sibling) -> HubFile:
    large = sibling.lfs
    if large:
        return HubFile(sibling.rfilename, large.size, large.sha256, None)
    return HubFile(sibling.rfilename, sibling.size or 0, None, sibling.blobId)


def _check(files: Iterable[HubFile]) -> None:
    names: set[str] = set()
    for file in files:
        if file.size > most_bytes(file.name):
            raise UnusableWeights(f"the hub lists {file.name} with {file.size >> 20} MiB, which it cannot have")
        if file.name.casefold() in names:  # some volumes know no difference
            raise UnusableWeights(f"the hub lists {file.name} twice")
        names.add(file.name.casefold())
    if len(names) > _MOST_FILES:
        raise UnusableWeights(f"the hub lists more than {_MOST_FILES} files of weights")
