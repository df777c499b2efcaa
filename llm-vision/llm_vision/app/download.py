"""Downloads a model's weights without a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from ..errors import VisionError
from ..models.registry import Catalog
from ..runtime.downloads.downloads import Downloads
from ..runtime.downloads.downloads import DownloadStatus as DownloadStatus
from ..runtime.weights.store import WeightStore
from ..settings import Settings
from .catalog import apply_settings
from .rules import download_rules, volumes


async def download(settings: Settings, model_id: str) -> AsyncIterator[DownloadStatus]:
    """Download a model's weights without a service, whatever `VISION_DOWNLOAD` says: somebody has asked for it.

    Raises:
        ValueError: there is no such model, or a setting names one that does not exist.
    """
    catalog = apply_settings(settings, Catalog.discover())
    found = catalog.find(model_id)
    if found is None:
        raise ValueError(catalog.explain_missing(model_id))
    spec = catalog[found].spec
    rules = replace(download_rules(settings), allowed=True)
    downloads = Downloads(WeightStore(volumes(settings)), rules)
    try:
        await downloads.begin(spec)
        async for status in downloads.follow(spec):
            yield status
    except VisionError as error:
        yield DownloadStatus("failed", error=error)
    finally:
        await downloads.close()
