"""Settings of the server: where it listens, who may reach it, how long a connection may take."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..logs import LogFormat
from .group import MEBIBYTE, CommaList, HostList, SettingsGroup


class ServerSettings(SettingsGroup):
    """Variables under the heading Server."""

    bind: str = "127.0.0.1"
    """Address to listen on. `0.0.0.0` opens the service to the network: set API keys then."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9100
    """Port to listen on."""
    published: str | None = None
    """Address at which a container's port is published; docker-compose.yml sets it. Empty: `VISION_BIND`."""
    allowed_hosts: HostList = ()
    """Host names that clients may use, besides localhost and this machine's name, comma separated; `*`: any. Empty:
    any; on loopback, no others."""
    cors_origins: CommaList = ()
    """Web origins (`https://reader.example`) whose pages may call the service, comma separated."""
    owocr_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port for owocr's WebSocket protocol, which meikipop and yomihon use (on port 7331). Empty: off."""
    header_seconds: Annotated[float, Field(gt=0)] = 10
    """Time limit for receiving the head of a request, in seconds."""
    body_seconds: Annotated[float, Field(gt=0)] = 60
    """Time limit for receiving the body of a request, and for the client to fetch the answer, in seconds."""
    buffer_mb: Annotated[float, Field(ge=16)] = 512
    """Memory limit for all uploads together, and again for all decoded images that wait, in MiB; beyond it, 429."""
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 30
    """Seconds that running requests have to finish after SIGTERM, SIGINT or SIGHUP."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest severity of log lines to print: `DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    log_format: LogFormat = "text"
    """`text` for people, `json` for machines."""

    @field_validator("bind", "published")
    @classmethod
    def _bind_is_an_address(cls, value: str | None) -> str | None:
        if value and value != "localhost":
            try:
                ipaddress.ip_address(value)
            except ValueError:
                raise ValueError("it must be an IP address, or localhost") from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
                raise ValueError("write an origin as https://host or https://host:port")
        return origins

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        address = self.published or self.bind
        return address == "localhost" or ipaddress.ip_address(address).is_loopback

    @property
    def buffer_bytes(self) -> int:
        """What uploads, or decoded pictures, may take together, in bytes."""
        return int(self.buffer_mb * MEBIBYTE)
