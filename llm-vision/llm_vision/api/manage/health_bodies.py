"""Bodies of the probes and of /version."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Live(BaseModel):
    """The process answers."""

    status: str


class Ready(BaseModel):
    """Whether requests can be served."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: bool
    reason: str | None
    models: dict[str, str]
    """The state of each model."""
    notices: dict[str, str]
    """Why models do not run where, or as, they were meant to."""


class Version(BaseModel):
    """What runs."""

    version: str
    python: str
    packages: dict[str, str]
