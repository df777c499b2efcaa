"""Which models there are: those that `families/` registers, and those of other installed packages."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, TypeVar

from .base import Model, ModelSpec, Task

ENTRY_POINTS = "llm_vision.models"
"""The group in which another package names the modules that register its models."""
_LATEST = ":latest"
_QUANTISED = re.compile(r"(?<=:)(q\d\w*|fp16|f16|bf16)$|-(q\d\w*|fp16|f16|bf16)$")
_LONGEST_NAME = 100  # that is compared with all others

ModelClass = TypeVar("ModelClass", bound=type[Model])


@dataclass(frozen=True)
class CatalogEntry:
    """A model's spec and the place of its class, which only the worker process imports to load."""

    spec: ModelSpec
    class_path: str
    """`package.module:Class`"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What `load` is told besides, as JSON."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables for its worker process alone: secrets, which must stand in no command line and no log."""

    @classmethod
    def of(cls, model_class: type[Model], spec: ModelSpec | None = None) -> CatalogEntry:
        """The entry of a class, or of one variant of a family."""
        return cls(spec or model_class.spec, f"{model_class.__module__}:{model_class.__qualname__}")


_registered: dict[str, CatalogEntry] = {}


def register(model_class: ModelClass) -> ModelClass:
    """Put a model class into the catalogue under its spec's id.

    Raises:
        ValueError: another class has that id already.
    """
    _enter(CatalogEntry.of(model_class))
    return model_class


def register_variants(model_class: type[Model], specs: Iterable[ModelSpec]) -> None:
    """Put the variants of a family into the catalogue; `LoadContext.model_id` tells the class which one it is.

    Raises:
        ValueError: another class has one of their ids already.
    """
    for spec in specs:
        _enter(CatalogEntry.of(model_class, spec))


def _enter(entry: CatalogEntry) -> None:
    known = _registered.setdefault(entry.spec.model_id, entry)
    if known.class_path != entry.class_path:
        raise ValueError(f"{entry.class_path} and {known.class_path} are both named {entry.spec.model_id!r}")


def _index_names(entries: Iterable[CatalogEntry]) -> dict[str, str]:
    """Ids by every name in lower case; a model's own id comes before another model's alias."""
    by_name = {alias.lower(): entry.spec.model_id for entry in entries for alias in entry.spec.aliases}
    by_name |= {entry.spec.model_id.rpartition("/")[2].lower(): entry.spec.model_id for entry in entries}
    return by_name | {entry.spec.model_id.lower(): entry.spec.model_id for entry in entries}


class Catalog(Mapping[str, CatalogEntry]):
    """The registered models by id, in the order in which they are offered."""

    def __init__(self, entries: Iterable[CatalogEntry]) -> None:
        self._entries = {entry.spec.model_id: entry for entry in entries}
        self._ids = _index_names(self._entries.values())

    @classmethod
    def discover(cls) -> Catalog:
        """Import the entries of `llm_vision.models.families` and of other packages; return what they registered.

        Raises:
            ValueError: a package's module cannot be imported, or takes the id of another model.
        """
        package = importlib.import_module(f"{__package__}.families")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
        for entry_point in entry_points(group=ENTRY_POINTS):
            try:
                entry_point.load()
            except Exception as error:
                raise ValueError(f"the models of the entry point {entry_point.name} cannot be imported") from error
        return cls([entry for _, entry in sorted(_registered.items())])

    def find(self, name: str) -> str | None:
        """The id of the model that a name means, None for no model.

        Upper case does not matter, nor does `:latest`. The part of Ollama's tags that says how the weights are
        quantised does not either: that is for the operator to set.
        """
        spelled = name.lower().removesuffix(_LATEST)
        return self._ids.get(spelled) or self._ids.get(_QUANTISED.sub("", spelled))

    def explain_missing(self, name: str) -> str:
        """What to say of a name that means no model: the nearest ones, and all there are."""
        close = get_close_matches(name.lower()[:_LONGEST_NAME], self._ids, n=3, cutoff=0.5)
        nearest = ", ".join(dict.fromkeys(self._ids[spelled] for spelled in close))
        return f"there is no such model; {f'nearest: {nearest}; ' if nearest else ''}there are: {', '.join(self)}"

    def with_task(self, task: Task) -> list[ModelSpec]:
        """The specs of the models that can do the task."""
        return [entry.spec for entry in self._entries.values() if task in entry.spec.tasks]

    def __getitem__(self, model_id: str) -> CatalogEntry:
        return self._entries[model_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
