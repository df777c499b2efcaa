"""Whether a model's weights may be downloaded: by what the operator allows, and by what fits here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import ModelLoadFailed, ModelTooLarge, StorageFull
from ...models.base import ModelSpec
from ..placement.fitting import Need
from ..weights.failures import RETRY_LOAD
from ..weights.store import WeightStore
from ..weights.volume_check import free_bytes

_MEGABYTE, _GIGABYTE = 10**6, 10**9


@dataclass(frozen=True)
class DownloadRules:
    """What an operator allows, and what the machine can take."""

    allowed: bool
    """Whether the service may download at all."""
    offline: bool
    """Whether `HF_HUB_OFFLINE` forbids it."""
    pause_seconds: float
    """After a failure, until a request may bring about the next try; longer after each further one."""
    memory_need: Callable[[ModelSpec], Need]
    """What memory a model needs, beside what there is."""

    @property
    def is_possible(self) -> bool:
        """Whether downloads are not forbidden."""
        return self.allowed and not self.offline

    def check(self, store: WeightStore, spec: ModelSpec) -> None:
        """Refuse what is forbidden or does not fit; it reads the volume (`WeightStore.look`).

        Raises:
            ModelLoadFailed: a download is forbidden.
            ModelTooLarge: the model does not fit into this machine's memory.
            StorageFull: its download does not fit on the volume.
        """
        if spec.weights is None:
            return
        where = store.whereabouts(spec)
        if self.offline:
            text = f"no weights for {spec.model_id}, and HF_HUB_OFFLINE forbids downloading them; without it, {where}"
            raise ModelLoadFailed(text, retry_after=RETRY_LOAD)
        if not self.allowed or store.hidden(spec.weights):  # what cannot be read may be the operator's own
            raise ModelLoadFailed(f"no weights for {spec.model_id}: {where}", retry_after=RETRY_LOAD)
        if misfit := self.misfit(store, spec):
            error = StorageFull if self.memory_need(spec).is_met else ModelTooLarge
            raise error(f"{spec.model_id} does not fit here, so it is not downloaded: {misfit}")

    def misfit(self, store: WeightStore, spec: ModelSpec) -> str | None:
        """Why a model whose weights are missing could not run here, with all figures; None when it could."""
        if spec.weights is None:
            return None
        memory, place = self.memory_need(spec), store.place(spec.weights)
        on_disk = spec.weights.download_bytes * (2 if spec.weights.may_be_pickled else 1) - place.begun_bytes
        free = free_bytes(place.root)
        if memory.is_met and on_disk <= free:
            return None
        return f"{memory.words}; its download takes {_words(on_disk)} of disk, and {_words(free)} are free"


def _words(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / _GIGABYTE:.1f} GB" if size >= 100 * _MEGABYTE else f"{size / _MEGABYTE:.0f} MB"
