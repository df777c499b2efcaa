"""`llm-vision models download`: weights onto their volume, with a line that says how far it is."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from ..app import download
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
    shown = ""
    async for status in download(settings, model_id):
        if status.error:
            print(f"llm-vision: {status.error.detail}", file=sys.stderr)
            return EX_FAILED
        line = f"{model_id}: {status.state}{_how_far(status.bytes_done, status.bytes_total)}"
        if line != shown:
            print(line, flush=True)
            shown = line
    return 0


def _how_far(done: int, total: int | None) -> str:
    return f", {100 * done // total} % ({done / _MIB:.0f} of {total / _MIB:.0f} MiB)" if total else ""
