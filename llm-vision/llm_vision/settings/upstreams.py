"""Other servers' models, as an operator writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class UpstreamServer:
    """Another server's model."""

    model_id: str
    """What our clients call it."""
    url: str
    """Where its API begins: `http://host:port/v1`."""
    model: str
    """What that server calls it."""

    @classmethod
    def parse(cls, text: str) -> UpstreamServer:
        """Read `id=url#model`.

        Raises:
            ValueError: it is something else.
        """
        model_id, _, address = text.partition("=")
        url, _, model = address.partition("#")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}", model_id):
            raise ValueError("write each server as id=url#model; an id has letters, digits and . _ - : / @")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[!-~]+", url):
            raise ValueError("a server's address begins with http:// or https:// and a host")
        if parts.username is not None or parts.query or parts.port == 0:
            raise ValueError("a server's address has no user, no query, no port 0; keys go into VISION_UPSTREAM_KEYS")
        if not re.fullmatch(r"[!-~]+", model):
            raise ValueError("behind a server's address stand # and the model's name there, without spaces")
        return cls(model_id, url if parts.path.strip("/") else f"{url.rstrip('/')}/v1", model)
