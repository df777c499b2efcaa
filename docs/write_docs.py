"""Writes what is made from the code: docs/openapi.json and the table of errors in docs/api.md (`make docs`)."""

from __future__ import annotations

import json
import re
from pathlib import Path

from llm_vision.app.create import create_app
from llm_vision.errors import registry
from llm_vision.settings import Settings

FOLDER = Path(__file__).parent
OPENAPI = FOLDER / "openapi.json"
API_PAGE = FOLDER / "api.md"
_TABLE = re.compile(r"(<!-- made by `make docs` from errors/ -->\n).*?(<!-- end -->)", re.DOTALL)


def openapi() -> str:
    """The OpenAPI document as it stands in the file."""
    return json.dumps(create_app(Settings()).openapi(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def api_page() -> str:
    """docs/api.md with the table of the errors that there are."""
    errors = sorted(registry().values(), key=lambda error: (error.status, error.code))
    rows = [f"| {error.status} | `{error.code}` | {error.when} |\n" for error in errors]
    table = "".join(["| status | code | when |\n", "|---|---|---|\n", *rows])
    return _TABLE.sub(lambda match: match[1] + table + match[2], API_PAGE.read_text())


if __name__ == "__main__":
    OPENAPI.write_text(openapi())
    API_PAGE.write_text(api_page())
