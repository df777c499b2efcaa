"""Runs the named benchmarks, or all; exits with 1 when a target is missed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

NAMES = ("start", "overhead", "ocr_crop", "concurrency", "reading", "pages", "page_memory")
MODELS = ("manga_ocr", "second_opinion", "pages_manga_ocr", "first_clients", "llava_int4", "llava_gpu", "chat")
"""Full-size models, which take gigabytes and minutes: run only by name."""

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the drawn pictures


def main() -> int:
    names = sys.argv[1:] or NAMES
    unknown = set(names) - {*NAMES, *MODELS}
    if unknown:
        print(f"unknown benchmark; choose from: {', '.join(NAMES + MODELS)}", file=sys.stderr)
        return 2
    return max(importlib.import_module(f"benchmarks.{name}").main() for name in names)


if __name__ == "__main__":
    sys.exit(main())
