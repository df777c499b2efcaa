"""What a vision tower makes of pictures, kept for the next question about them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...decoding.keeping import FairStore

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Rgb = NDArray[np.uint8]

Key = tuple[bytes, tuple[int, ...], bool]


@dataclass(frozen=True)
class SeenPicture:
    """A picture as the language model is shown it."""

    features: torch.Tensor
    """Shape (tokens, width), or (rows, columns, width)."""
    number: int
    """Negative; stands for its tokens in keys of prompts. No other picture ever gets it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its tokens."""
        return tuple(self.features.shape[:-1])


class PictureMemory:
    """The features of pictures that were seen; see `FairStore` for those that stay.

    A picture is known by the SHA-256 of its pixels, its size, and whether it came alone: a model that looks at several
    looks less closely at each.

    Args:
        encode: the features of a request's RGB pictures, one after the other, each as in `SeenPicture`.
        max_bytes: of all features together.
    """

    def __init__(self, encode: Callable[[Sequence[Rgb]], Iterable[torch.Tensor]], max_bytes: int) -> None:
        self._encode = encode
        self._known: FairStore[Key, SeenPicture] = FairStore(max_bytes)
        self._numbers = itertools.count(-1, -1)

    def see(self, owner: str, pictures: Sequence[Rgb]) -> Generator[None, None, list[SeenPicture]]:
        """All pictures of an owner's request; where it has not shown all of them before, with a pause behind each."""
        keys = [_key(picture, is_alone=len(pictures) == 1) for picture in pictures]
        seen = [self._known.use(owner, key) for key in keys]
        if None in seen:
            for place, feature in zip(range(len(pictures)), self._encode(pictures), strict=True):
                seen[place] = seen[place] or SeenPicture(feature, next(self._numbers))
                yield
        all_seen = [picture for picture in seen if picture]
        for key, picture in zip(keys, all_seen, strict=True):
            self._known.put(owner, key, picture, picture.features.nbytes)
        return all_seen

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


def _key(picture: Rgb, *, is_alone: bool) -> Key:
    return (
        hashlib.sha256(picture.tobytes() if not picture.flags.c_contiguous else picture.data).digest(),
        picture.shape,
        is_alone,
    )
