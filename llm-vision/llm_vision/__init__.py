"""LLM Vision: a self-hosted service that reads manga text and answers questions about pictures."""

import sys

__version__ = "0.2.0"

if sys.platform == "win32":
    raise ImportError("LLM Vision runs on Linux and macOS: on Windows, use WSL or Docker")
