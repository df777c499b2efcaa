"""A picture and its fields out of a request body: multipart, raw bytes or JSON with base64."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ..errors import (
    FileRequired,
    InvalidParameter,
    InvalidRequest,
    InvalidText,
    MalformedJson,
    MalformedMultipart,
    MultipartLimits,
    TooManyFiles,
    UnknownParameter,
    UnsupportedMediaType,
    VisionError,
)
from .gate import too_large

MAX_FILES = 1
MAX_FIELDS = 15
MAX_FIELD_BYTES = 64 * 1024
MAX_BOUNDARY_CHARS = 70  # RFC 2046, 5.1.1
_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

Fields = TypeVar("Fields", bound=BaseModel)


class _Parser(MultiPartParser):
    """Starlette's parser, strict about UTF-8 and about the final boundary."""

    has_ended = False

    def on_part_end(self) -> None:
        if self._current_part.file is None:
            try:
                self._current_part.data.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidText("a form field is not UTF-8") from None
        super().on_part_end()

    def on_end(self) -> None:
        self.has_ended = True


async def read_picture_form(request: Request, fields: type[Fields], max_file_bytes: int) -> tuple[bytes, Fields]:
    """The picture's bytes and the checked fields of a request.

    Raises:
        VisionError: what is wrong with the body, by its code.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        data, values = await _read_multipart(request)
    elif kind == "application/json":
        data, values = _read_json(await request.body())
    elif kind.startswith("image/") or kind == "application/octet-stream":
        data, values = await request.body(), dict(request.query_params)
    else:
        raise UnsupportedMediaType(
            "send multipart/form-data with a `file`, the picture itself as image/*, or JSON with base64 in `image`"
        )
    if len(data) > max_file_bytes:
        raise too_large(max_file_bytes)
    if not data:
        raise FileRequired("the file is empty", param="file")
    return data, check_fields(fields, values)


async def _read_multipart(request: Request) -> tuple[bytes, dict[str, Any]]:
    form = await _parse_multipart(request)
    try:
        uploads = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
        if len(uploads) > MAX_FILES:
            raise TooManyFiles("send one file", param="file")
        if not uploads:
            raise FileRequired("send the picture as a file part named `file`", param="file")
        values = {name: value for name, value in form.items() if isinstance(value, str) and name != "file"}
        return await uploads[0].read(), values
    finally:
        await form.close()


async def _parse_multipart(request: Request) -> FormData:
    boundary = re.search(r"boundary=\"?([^\";]+)", request.headers["content-type"])
    if boundary is None or len(boundary[1]) > MAX_BOUNDARY_CHARS:
        raise MalformedMultipart(f"the boundary is missing or longer than {MAX_BOUNDARY_CHARS} characters")
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=MAX_FILES + 1,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _multipart_error(error) from None
    if not parser.has_ended:
        await form.close()
        raise MalformedMultipart("the body ends before its final boundary")
    return form


def _multipart_error(error: MultiPartException) -> VisionError:
    if error.message.startswith("Too many files"):
        return TooManyFiles("send one file", param="file")
    if error.message.startswith(("Too many", "Part exceeded")):
        return MultipartLimits(f"at most {MAX_FIELDS} fields of {MAX_FIELD_BYTES} bytes each")
    return MalformedMultipart("the multipart body cannot be read")


def _read_json(body: bytes) -> tuple[bytes, dict[str, Any]]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedJson("the body is not JSON") from None
    if not isinstance(values, dict):
        raise InvalidRequest("the body must be a JSON object")
    encoded = values.pop("image", None)
    if not isinstance(encoded, str):
        raise FileRequired("send the picture as base64 in `image`", param="image")
    try:
        return base64.b64decode(encoded.rpartition(",")[2], validate=True), values
    except (binascii.Error, ValueError):
        raise InvalidParameter("`image` is not base64", param="image") from None


def check_fields(fields: type[Fields], values: Mapping[str, Any]) -> Fields:
    """The fields as their model; blank ones take their defaults, unknown ones are ignored.

    Raises:
        InvalidText: a text holds control characters.
        InvalidParameter: a field is not what it must be.
    """
    given = {name: value for name, value in values.items() if not _is_blank(value)}
    for name in fields.model_fields:
        value = given.get(name)
        if isinstance(value, str) and _FORBIDDEN_CHARACTERS.search(value):
            raise InvalidText("control characters are not accepted", param=name)
    try:
        return fields.model_validate(given)
    except ValidationError as error:
        raise invalid_parameter(error.errors(include_url=False, include_input=False, include_context=False)) from None


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def invalid_parameter(errors: Sequence[Mapping[str, Any]]) -> VisionError:
    """One error for pydantic's list: names and rules only, never the values that were sent."""
    first = errors[0]
    names = [part for part in first["loc"] if isinstance(part, str) and part not in ("body", "query", "path")]
    name = ".".join(names)[:100] or "body"
    if first["type"] == "extra_forbidden":
        return UnknownParameter("a field is not known here; GET /docs lists those that are")
    return InvalidParameter(f"{name}: {first['msg']}", param=name)


def picture_body(fields: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI request body of a route that takes a picture and fields."""
    schema = fields.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    properties = {name: _inlined(value, definitions) for name, value in schema["properties"].items()}
    picture = {"type": "string", "format": "binary", "description": "The picture"}
    encoded = {
        "type": "string",
        "format": "byte",
        "description": "The picture as base64, with or without a data URI's head",
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {"file": picture, **properties},
                    }
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {"image": encoded, **properties},
                    }
                },
                "image/*": {"schema": picture},
            },
        }
    }


def _inlined(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A property with its enum written out, since the route's model is not among the components."""
    reference = schema.get("$ref", "")
    found = definitions.get(reference.rpartition("/")[2], {})
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
