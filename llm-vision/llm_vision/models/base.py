"""What every model is: its spec, what it is given to load and to run, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import VisionError

if TYPE_CHECKING:  # the gateway reads specs only and never needs numpy for them
    import numpy as np
    from numpy.typing import NDArray

JsonObject = dict[str, Any]


class UnusableWeights(Exception):
    """The files of a model are not what they must be; the text is for operators and names nothing of theirs."""


class Task(StrEnum):
    """What a model can be asked to do."""

    OCR = "ocr"
    CLASSIFY = "classify"
    CAPTION = "caption"
    CHAT = "chat"


class Quantization(StrEnum):
    """How many bits the weights have in memory."""

    NONE = "none"
    """16, or 32 where the device is slow with 16."""
    EIGHT = "8bit"
    FOUR = "4bit"


class Volume(StrEnum):
    """The mounted volumes that hold weights, as operators know them."""

    LLAVA = "data/llava_models"
    MANGA_OCR = "data/mangaocr_models"


@dataclass(frozen=True)
class Weights:
    """Files of a model that are not part of a package."""

    repo: str
    """Its name on the Hugging Face hub: `owner/name`."""
    volume: Volume
    kind: str
    """`model_type` of its config.json: several models may share a volume."""
    revision: str | None = None
    """The commit that the model was tested with; None where it is not pinned."""
    download_bytes: int = 0
    """About what its files on the hub take, by their listing; 0 where that is not known."""
    may_be_pickled: bool = False
    """Whether a `pytorch_model.bin` is accepted, for repositories that have no safetensors."""


@dataclass(frozen=True)
class ModelSpec:
    """What the gateway knows of a model without loading it."""

    model_id: str
    """The name that clients use."""
    title: str
    """One line for people."""
    tasks: frozenset[Task]
    license: str
    memory_bytes: int
    """Resident memory of a worker that has run its first request."""
    max_batch: int
    """Most requests that one `predict` takes, or that have joined a `SteppedModel`."""
    places_for_others: int = 0
    """Of these, how many only clients may take that have no request among them: nobody waits outside for a place that
    a costly request holds."""
    languages: Mapping[str, str] | None = None
    """Language code (BCP 47) to English name, for models that read text."""
    devices: frozenset[str] = frozenset({"cpu"})
    """Kinds of device that it can use: `cpu`, `cuda`."""
    quantizable: frozenset[str] = frozenset()
    """Kinds of device on which it can be loaded with fewer bits; its memory is forecast from the size of its files."""
    working_bytes: int = 0
    """What a quantizable model needs beside its weights."""
    weights: Weights | None = None
    """Where its weights come from; None when they are part of an installed package."""
    aliases: tuple[str, ...] = ()
    """Other names that clients may use."""
    embedded: bool = False
    """The weights are part of an installed package: nothing is ever downloaded."""
    weight_files: Callable[[], Iterable[Path]] = tuple
    """The files that it loads, where they can be found without its library: when a load has failed, a change of them
    makes the next request try again at once."""
    computes: bool = True
    """Whether it takes part in sharing the cores; a model that only waits for another server does not."""
    is_stepped: bool = False
    """Whether it is a `SteppedModel`."""
    longest_step: float = 2.0
    """Seconds within which it looks whether anybody still waits; its process is ended when it takes longer for
    nobody."""


@dataclass(frozen=True)
class LoadContext:
    """What the runtime decided for a model that is about to load."""

    device: str
    """A torch device name: `cpu` or `cuda:0`."""
    threads: int
    """Compute threads that the model may use; its library is told so in `load`."""
    weights_root: Path | None = None
    """The folder with the model's files; None for embedded models."""
    quantization: Quantization = Quantization.NONE
    """How many bits the weights shall have."""
    model_id: str = ""
    """Which variant of a family it is."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the catalogue entry says besides."""


class Item(ABC):
    """One request of a batch, as the model in its worker process sees it."""

    images: tuple[NDArray[np.uint8], ...]
    """RGB pictures, each of shape (height, width, 3), values 0..255, read-only."""
    params: JsonObject
    """The task's options, already checked by the service that sent them."""
    client: str = ""
    """Who asks: clients share a model by the work that their requests are."""
    work_seconds: float | None = None
    """What it has cost so far, where the model measures that: processor time, or its share of a batch's time."""
    owner: str = ""
    """Whose request it is, as a tag without meaning: what is remembered of it may help nobody else."""

    @property
    @abstractmethod
    def cancelled(self) -> bool:
        """Whether nobody waits for this item any more; look at it between steps."""

    @abstractmethod
    def send_token(self, text: str, logprobs: Sequence[JsonObject] = ()) -> None:
        """Send a chunk of generated text to the client at once, with what is told of its tokens."""


class Model(ABC):
    """A model family. One instance lives in one worker process; calls come one at a time."""

    spec: ClassVar[ModelSpec]
    threads: int = 1
    """Compute threads that the next `predict` may use: the cores, shared among the models that run at the time."""

    @abstractmethod
    def load(self, context: LoadContext) -> None:
        """Import the library, read the weights and run once, so that loaded means ready.

        Any exception here is a failed load: the worker process ends.
        """

    def let_go(self) -> None:  # noqa: B027  (most models keep nothing)
        """Give back memory that is only kept to be faster: it has run out."""

    @abstractmethod
    def predict(self, batch: Sequence[Item]) -> Sequence[JsonObject | Exception]:
        """One result per item, in the order of the batch.

        A result is a JSON object in the shape of the task. An exception in an item's place
        fails that item alone; an exception that is raised fails the whole batch, and the
        worker lives on. Clients see the code, text and `retry_after` of a `VisionError`,
        and `inference_failed` for any other.
        """


class SteppedModel(Model):
    """A model that answers step by step, as language models do: requests join and leave between steps."""

    @property
    def can_join(self) -> bool:
        """Whether the next request may join before the next step; no, where one after the other is sooner answered."""
        return True

    @abstractmethod
    def join(self, item: Item) -> None:
        """Take a request in; an exception refuses it. Its pictures are not there any more afterwards."""

    @abstractmethod
    def step(self) -> Sequence[tuple[Item, JsonObject | Exception]]:
        """Go on a little with all that have joined; those that have ended, each with its result or failure.

        Requests that nobody waits for any more end with `ClientClosed`. An exception that is raised leaves all as they
        were before the step.
        """

    @abstractmethod
    def leave(self, item: Item) -> None:
        """Forget a request that has joined and not ended."""

    @abstractmethod
    def shrink(self) -> Item | None:
        """Need less memory in the next step: let the youngest request wait until the others have ended.

        Returns:
            the request that does not fit even alone, and has left; None when the next step may be tried.
        """

    def predict(self, batch: Sequence[Item]) -> Sequence[JsonObject | Exception]:
        """All requests from their beginning to their end."""
        results: dict[int, JsonObject | Exception] = {}
        for item in batch:
            try:
                self.join(item)
            except VisionError as error:
                results[id(item)] = error
        while len(results) < len(batch):
            results |= {id(item): outcome for item, outcome in self.step()}
        return [results[id(item)] for item in batch]
