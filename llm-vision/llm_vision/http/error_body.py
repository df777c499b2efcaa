"""The error body: RFC 9457 members at the top level, plus the object that OpenAI clients read."""

from __future__ import annotations

from pydantic import BaseModel, Field


class OpenAIError(BaseModel):
    """What OpenAI clients read of an error."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """Every error of the service. `code` is the contract; texts may change."""

    type: str = Field(examples=["urn:llm-vision:error:image_too_large"])
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool
    error: OpenAIError
