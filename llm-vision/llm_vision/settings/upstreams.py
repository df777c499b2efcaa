"""Settings of other servers' models: which, where, and with which keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import field_validator
from pydantic_settings import NoDecode

from .group import SecretList, SettingsGroup, parts_of


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
            raise ValueError("a server's address must start with http:// or https:// and name a host")
        if parts.username is not None or parts.query or parts.port == 0:
            raise ValueError("a server's address has no user, no query, no port 0; keys go into VISION_UPSTREAM_KEYS")
        if not re.fullmatch(r"[!-~]+", model):
            raise ValueError("after a server's address, write # and the model's name on that server, without spaces")
        return cls(model_id, url if parts.path.strip("/") else f"{url.rstrip('/')}/v1", model)


class UpstreamSettings(SettingsGroup):
    """Variables under the heading Models of other servers."""

    upstreams: Annotated[tuple[UpstreamServer, ...], NoDecode] = ()
    """Models of other servers (vLLM, SGLang, Ollama, llama.cpp), comma separated: `id=url#model`."""
    upstream_keys: SecretList = ()
    """Keys that those servers require, comma separated: `id=key`."""

    @field_validator("upstreams", mode="before")
    @classmethod
    def _read_upstreams(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        servers = tuple(UpstreamServer.parse(part) for part in parts_of(value))
        if len({server.model_id for server in servers}) < len(servers):
            raise ValueError("two servers have the same id")
        return servers

    @property
    def key_of_upstream(self) -> dict[str, str]:
        """The keys of other servers by model id."""
        pairs = (key.get_secret_value().partition("=") for key in self.upstream_keys)
        return {model_id: key for model_id, _, key in pairs}
