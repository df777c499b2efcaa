"""Which models there are: every file of this folder that registers one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from .base import Model, ModelSpec, Task

_registered: dict[str, type[Model]] = {}

ModelClass = TypeVar("ModelClass", bound=type[Model])


def register(model_class: ModelClass) -> ModelClass:
    """Put a model class into the catalogue under its spec's id.

    Raises:
        ValueError: another class has that id already.
    """
    model_id = model_class.spec.model_id
    known = _registered.setdefault(model_id, model_class)
    if known is not model_class:
        raise ValueError(f"{model_class.__name__} and {known.__name__} are both named {model_id!r}")
    return model_class


@dataclass(frozen=True)
class CatalogEntry:
    """A model's spec and the place of its class, which only the worker process imports to load."""

    spec: ModelSpec
    class_path: str
    """`package.module:Class`"""


class Catalog(Mapping[str, CatalogEntry]):
    """The registered models by id, in the order in which they are offered."""

    def __init__(self, model_classes: Iterator[type[Model]] | list[type[Model]]) -> None:
        self._entries = {
            model_class.spec.model_id: CatalogEntry(
                model_class.spec, f"{model_class.__module__}:{model_class.__qualname__}"
            )
            for model_class in model_classes
        }

    @classmethod
    def discover(cls) -> Catalog:
        """Import the modules of `llm_vision.models` and return what they registered.

        A name that starts with an underscore is a part of a model, which only its worker process imports.
        """
        package = importlib.import_module(__package__)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{__package__}.{module.name}")
        return cls([model for _, model in sorted(_registered.items())])

    def with_task(self, task: Task) -> list[ModelSpec]:
        """The specs of the models that can do the task."""
        return [entry.spec for entry in self._entries.values() if task in entry.spec.tasks]

    def __getitem__(self, model_id: str) -> CatalogEntry:
        return self._entries[model_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
