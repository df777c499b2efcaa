"""Whose remembered prompts and pictures a request may meet: its own client's."""

from __future__ import annotations

import hashlib
import secrets


class CacheOwners:
    """Names clients to models by tags that tell nothing of their keys and cannot be guessed.

    Args:
        are_apart: whether each client is an owner of its own; else all of them are one.
    """

    def __init__(self, *, are_apart: bool) -> None:
        self._secret = secrets.token_bytes(32) if are_apart else b""

    def tag(self, client: str) -> str:
        """A client's tag, the same until the service stops; empty where all are one."""
        if not self._secret:
            return ""
        return hashlib.blake2b(client.encode(), key=self._secret, digest_size=32).hexdigest()
