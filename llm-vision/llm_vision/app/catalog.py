"""The catalogue as an operator has set it: other servers' models, pinned revisions, names that must exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..models.base import ModelSpec, Task
from ..models.families.rapidocr import model as rapidocr
from ..models.families.upstream import model as upstream
from ..models.registry import Catalog, CatalogEntry
from ..services.analysis.embedded import MODEL_NAME
from ..settings import Settings

_RESERVED_IDS = ("auto", MODEL_NAME)


def apply_settings(settings: Settings, catalog: Catalog) -> Catalog:
    """A catalogue with what the settings add to it.

    Raises:
        ValueError: a setting names a model that does not exist, or gives one a name that is taken.
    """
    catalog = _add_upstreams(settings, _pin_revisions(settings, _limit_lines(settings, catalog)))
    _check_model_names(settings, catalog)
    return catalog


def find_llava(settings: Settings, catalog: Catalog) -> str | None:
    """The id that LLAVA_MODEL_ID names; None for `auto`.

    Raises:
        ValueError: it names no model that answers questions.
    """
    if settings.llava_model_id == "auto":
        return None
    known = _list_ids(catalog.with_task(Task.CHAT))
    wanted = catalog.find(settings.llava_model_id)
    if wanted not in known:
        raise ValueError(f"LLAVA_MODEL_ID names no model that answers questions; there are: {', '.join(known)}")
    return wanted


def _list_ids(specs: Sequence[ModelSpec]) -> list[str]:
    return [spec.model_id for spec in specs]


def _limit_lines(settings: Settings, catalog: Catalog) -> Catalog:
    """Tell the reader that finds lines how many it may read."""
    options = {rapidocr.MAX_LINES_OPTION: settings.ocr_max_lines}
    return Catalog(
        replace(entry, options={**entry.options, **options}) if id_ == rapidocr.RapidOcr.spec.model_id else entry
        for id_, entry in catalog.items()
    )


def _pin_revisions(settings: Settings, catalog: Catalog) -> Catalog:
    commits = {catalog.find(name) or name: commit for name, commit in settings.revisions.items()}
    downloaded = [id_ for id_, entry in catalog.items() if entry.spec.weights]
    if not commits.keys() <= set(downloaded):
        raise ValueError(f"VISION_REVISIONS names a model without weights to pin; there are: {', '.join(downloaded)}")
    return Catalog(_pin_commit(entry, commits.get(id_)) for id_, entry in catalog.items())


def _pin_commit(entry: CatalogEntry, commit: str | None) -> CatalogEntry:
    if commit is None or entry.spec.weights is None:
        return entry
    return replace(entry, spec=replace(entry.spec, weights=replace(entry.spec.weights, revision=commit)))


def _add_upstreams(settings: Settings, catalog: Catalog) -> Catalog:
    taken = {*catalog, *_RESERVED_IDS}
    if any(server.model_id in taken for server in settings.upstreams):
        raise ValueError(f"VISION_UPSTREAMS uses a name that is taken; taken are: {', '.join(sorted(taken))}")
    keys = settings.key_of_upstream
    theirs = [
        upstream.entry_of(server.model_id, server.url, server.model, keys.get(server.model_id))
        for server in settings.upstreams
    ]
    return Catalog([*catalog.values(), *theirs])


def _check_model_names(settings: Settings, catalog: Catalog) -> None:
    readers = _list_ids(catalog.with_task(Task.OCR))
    if settings.ocr_engine != "auto" and catalog.find(settings.ocr_engine) not in readers:
        raise ValueError(f"VISION_OCR_ENGINE names no model that reads; there are: {', '.join(readers)}")
    if not all(map(catalog.find, settings.preload)):
        raise ValueError(f"VISION_PRELOAD names an unknown model; there are: {', '.join(catalog)}")
