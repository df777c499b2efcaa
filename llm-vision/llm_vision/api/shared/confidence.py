"""How sure a model is, as answers carry it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

Confidence = Annotated[float, Field(ge=0, le=1), AfterValidator(lambda value: round(value, 4))]
"""0..1, in steps that mean something."""
