"""One question by OpenAI's Python client."""

from __future__ import annotations

from typing import Any

from openai import OpenAI

from compat.asked import Asked
from compat.live import MODEL


def ask(client: OpenAI, asked: Asked, **params: Any) -> Any:
    """A completion, greedy and of the tiny model where nothing else is said."""
    return client.chat.completions.create(**{"model": MODEL, "messages": asked.messages, "temperature": 0, **params})
