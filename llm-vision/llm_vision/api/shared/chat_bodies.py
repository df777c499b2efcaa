"""What bodies of several APIs share: their limits, and the functions that a model may call."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

MOST_MESSAGES = 256
MOST_TOOLS = 64
MOST_STOPS, LONGEST_STOP = 16, 256
DEFAULT_TOKENS, MOST_TOKENS = 512, 131_072
ONE_YEAR = 31_536_000
"""Seconds: longest time for which a model can be kept."""

ListsAll = Annotated[bool, Query(alias="all", description="Also what is not here, and what only reads text")]
FunctionName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
Stop = Annotated[str, Field(max_length=LONGEST_STOP)]


class StrictPart(BaseModel):
    """A part of a body: types are taken at their word, what is not known is ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", use_attribute_docstrings=True)


class Function(StrictPart):
    """A function that a model may call."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema."""
