"""Bodies of the probes and of /version."""

from __future__ import annotations

from pydantic import BaseModel


class Live(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """Whether requests can be served."""

    ready: bool
    reason: str | None
    models: dict[str, str]


class Version(BaseModel):
    """What runs."""

    version: str
    python: str
    packages: dict[str, str]
