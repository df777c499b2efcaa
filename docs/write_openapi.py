"""Writes docs/openapi.json from the routes: `make openapi`."""

from __future__ import annotations

import json
from pathlib import Path

from llm_vision.app import create_app
from llm_vision.settings import Settings

PATH = Path(__file__).parent / "openapi.json"


def content() -> str:
    """The OpenAPI document as it stands in the file."""
    return json.dumps(create_app(Settings()).openapi(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(content())
