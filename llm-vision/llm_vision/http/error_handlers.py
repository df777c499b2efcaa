"""The framework's own errors as ours; the gate answers them."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..errors import InternalError, MalformedHttp, MethodNotAllowed, NotFound
from .bodies.fields import invalid_parameter


def install(app: FastAPI) -> None:
    """Translate validation errors, unknown routes and wrong methods."""
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    raise invalid_parameter(error.errors())


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    if error.status_code == 404:
        raise NotFound("no such route; GET /docs lists the routes")
    if error.status_code == 405:
        raise MethodNotAllowed("the route does not support this method; GET /docs lists those it does")
    if error.status_code < 500:
        raise MalformedHttp("the request cannot be read")
    raise InternalError.unexpected()
