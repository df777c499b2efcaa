"""The downloads' tasks, without a hub."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from fixtures.waiting import until
from llm_vision.errors import ShuttingDown
from llm_vision.models.base import Volume, Weights
from llm_vision.models.families.manga_ocr.model import MangaOcr
from llm_vision.runtime.downloads.downloads import Downloads
from llm_vision.runtime.downloads.rules import DownloadRules
from llm_vision.runtime.placement.fitting import Need
from llm_vision.runtime.weights.store import WeightStore


class SlowStore(WeightStore):
    """Looks at a volume when the test lets it."""

    def __init__(self, volume: Path) -> None:
        super().__init__({Volume.MANGA_OCR: volume})
        self.is_looked_at = threading.Event()
        self.may_look = threading.Event()

    def hidden(self, weights: Weights) -> str | None:
        self.is_looked_at.set()
        assert self.may_look.wait(timeout=60)
        return super().hidden(weights)


async def test_no_download_begins_when_the_service_stops_while_the_volume_is_looked_at(tmp_path: Path) -> None:
    store = SlowStore(tmp_path)
    downloads = Downloads(store, DownloadRules(True, False, 30, lambda _: Need(True, "")))
    beginning = asyncio.create_task(downloads.begin(MangaOcr.spec))
    try:
        await until(store.is_looked_at.is_set)
        downloads.drain()
        store.may_look.set()
        with pytest.raises(ShuttingDown):
            await beginning
        assert not downloads.is_running(MangaOcr.spec)
    finally:
        store.may_look.set()
        await downloads.close()
