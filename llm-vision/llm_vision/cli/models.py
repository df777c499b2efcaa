"""`llm-vision models download`: weights onto their volume, with a line that says how far it is."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import closing

from tqdm import tqdm

from ..app.download import DownloadStatus, download
from ..settings import Settings

EX_FAILED = 1
_MIB = 1024 * 1024


def download_model(settings: Settings, model_id: str) -> int:
    """Download a model's weights; the command's exit status."""
    logging.getLogger("llm_vision").addHandler(logging.NullHandler())  # the lines below say it all
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return asyncio.run(_download(settings, model_id))
    except ValueError as error:
        print(f"llm-vision: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("llm-vision: stopped; the next try goes on with what has come", file=sys.stderr)
    return EX_FAILED


async def _download(settings: Settings, model_id: str) -> int:
    with closing(_Bar(model_id) if sys.stdout.isatty() else _Lines(model_id)) as shown:
        async for status in download(settings, model_id):
            if status.error:
                shown.close()
                print(f"llm-vision: {status.error.detail}", file=sys.stderr)
                return EX_FAILED
            shown.show(status)
    return 0


class _Lines:
    """For a log: a line whenever something has changed."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._last = ""

    def show(self, status: DownloadStatus) -> None:
        line = f"{self._model_id}: {status.state}{_format_progress(status.bytes_done, status.bytes_total)}"
        if line != self._last:
            print(line, flush=True)
        self._last = line

    def close(self) -> None:
        """Nothing is open."""


class _Bar:
    """For a person at a terminal."""

    def __init__(self, model_id: str) -> None:
        self._bar = tqdm(desc=model_id, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stdout)

    def show(self, status: DownloadStatus) -> None:
        self._bar.total = status.bytes_total
        self._bar.set_postfix_str(status.state, refresh=False)
        self._bar.update(status.bytes_done - self._bar.n)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


def _format_progress(done: int, total: int | None) -> str:
    return f", {100 * done // total} % ({done / _MIB:.0f} of {total / _MIB:.0f} MiB)" if total else ""
