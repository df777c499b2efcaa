"""A picture and its fields out of a request body: multipart, raw bytes or JSON with base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel

from ..errors import FileRequired, InvalidParameter, UnsupportedMediaType
from .body import parsed_body, read_body
from .fields import check_fields
from .json_body import check_is_json, parse_object
from .limits import too_large
from .multipart import read_form

FILE_FIELD = "file"
_LONGEST_DATA_HEAD = 1024  # characters
_BASE64_PIECE = 1024 * 1024  # characters; four are three bytes

Picture = bytes | bytearray
Fields = TypeVar("Fields", bound=BaseModel)


async def read_picture_form(request: Request, fields: type[Fields], max_file_bytes: int) -> tuple[Picture, Fields]:
    """The picture's bytes and the checked fields of a request.

    Raises:
        VisionError: what is wrong with the body, by its code.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data: Picture
    if kind == "multipart/form-data":
        data, form = await _read_multipart(request, fields, max_file_bytes)
    elif kind == "application/json":
        check_is_json(request.headers["content-type"])
        data, form = await parsed_body(request, lambda body: _parse_json(body, fields))
    elif kind.startswith("image/") or kind == "application/octet-stream":
        data, form = await read_body(request), check_fields(fields, request.query_params)
    else:
        raise UnsupportedMediaType(
            "send multipart/form-data with a `file`, the picture itself as image/*, or JSON with base64 in `image`"
        )
    if len(data) > max_file_bytes:
        raise too_large(max_file_bytes)
    return data, form


async def _read_multipart(request: Request, fields: type[Fields], max_file_bytes: int) -> tuple[bytes, Fields]:
    content_type = request.headers["content-type"]
    form = await read_form(content_type, request.stream(), FILE_FIELD, max_file_bytes)
    try:
        values = {name: value for name, value in form.fields.items() if name != FILE_FIELD}
        return await form.only_file(FILE_FIELD), check_fields(fields, values)
    finally:
        form.close()


def _parse_json(body: bytearray, fields: type[Fields]) -> tuple[bytearray, Fields]:
    values = parse_object(body)
    encoded = values.pop("image", None)
    if not isinstance(encoded, str):
        raise FileRequired("send the picture as base64 in `image`", param="image")
    return _from_base64(encoded), check_fields(fields, values)


def _from_base64(text: str) -> bytearray:
    """Bytes of base64, with or without a data URI's head; in pieces, so that other threads get their turn."""
    data = bytearray()
    start = text.find(",", 0, _LONGEST_DATA_HEAD) + 1
    try:
        for at in range(start, len(text), _BASE64_PIECE):
            data += base64.b64decode(text[at : at + _BASE64_PIECE], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("`image` is not base64", param="image") from None
    return data


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


def json_request(schema: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI request body of a route that takes JSON."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema.model_json_schema()}}}}


def _inlined(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A property with its enum written out, since the route's model is not among the components."""
    reference = schema.get("$ref", "")
    found = definitions.get(reference.rpartition("/")[2], {})
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
