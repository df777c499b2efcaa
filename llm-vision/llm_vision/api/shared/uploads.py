"""A picture and its fields out of a request body: multipart, raw bytes or JSON with base64."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel

from ...errors import FileRequired, InvalidParameter, UnsupportedMediaType
from ...http.bodies.body import parse_body, read_body
from ...http.bodies.fields import check_fields
from ...http.bodies.json_body import check_is_json, parse_object
from ...http.bodies.multipart import FileRules, Part, read_form, read_part
from ...http.limits import too_large
from ...images.data_uri import decode_base64, decode_data_uri, is_data_uri

FILE_FIELDS = ("file", "image", "upload")
"""Names of the part with the picture: ours, that of home-made clients, that of ImageTrans."""
URL_FIELD = "url"
FOREIGN_FIELD = "upload"
"""The client that calls it so is ImageTrans, whose plugins expect answers in shapes of their own."""
BATCH_FIELDS = ("files", "file", "files[]")
MOST_FILES = 64
"""Of a batch; all together are one body, whose size has a limit of its own."""
_LONGEST_DATA_HEAD = 1024  # characters

Picture = bytes | bytearray
Fields = TypeVar("Fields", bound=BaseModel)


@dataclass(frozen=True)
class Upload(Generic[Fields]):
    """What a request brings."""

    picture: Picture
    fields: Fields
    part: str | None = None
    """Name of the part that held the picture, by which clients are distinguished."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Everything else in a multipart body, unchecked."""


async def read_upload(request: Request, fields: type[Fields], max_file_bytes: int) -> Upload[Fields]:
    """The picture and the checked fields of a request; no bytes where one of the fields is `url`, and names it.

    Raises:
        VisionError: what is wrong with the body, by its code.
    """
    kind = _read_media_type(request)
    data: Picture
    if kind == "multipart/form-data":
        return await _read_multipart(request, fields, FileRules(FILE_FIELDS, max_file_bytes))
    if kind == "application/json":
        check_is_json(request.headers["content-type"])
        data, form = await parse_body(request, lambda body: _parse_json(body, fields, max_file_bytes))
    elif kind.startswith("image/") or kind == "application/octet-stream":
        _refuse_two_pictures(request.query_params, fields)
        data, form = await read_body(request), check_fields(fields, request.query_params)
    else:
        raise UnsupportedMediaType(
            "send multipart/form-data with a `file`, the picture itself as image/*, or JSON with base64 in `image`"
        )
    if len(data) > max_file_bytes:
        raise too_large(max_file_bytes)
    return Upload(data, form)


def _read_media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_multipart(request: Request, fields: type[Fields], rules: FileRules) -> Upload[Fields]:
    form = await read_form(request.headers["content-type"], request.stream(), rules)
    try:
        values = {name: value for name, value in form.fields.items() if name not in FILE_FIELDS}
        if not form.files and _names_url(values, fields):
            return Upload(b"", check_fields(fields, values))
        part = form.require_file(FILE_FIELDS[0])
        _refuse_two_pictures(values, fields)
        if part.name == FOREIGN_FIELD:
            values.pop("engine", None)  # of the client's own list
        return Upload(await read_part(part), check_fields(fields, values), part.name, values)
    finally:
        form.close()


@asynccontextmanager
async def read_batch(
    request: Request, fields: type[Fields], max_file_bytes: int
) -> AsyncIterator[tuple[list[Part], Fields]]:
    """The files and the checked fields of a multipart body; the files are there for as long as the context lasts.

    Raises:
        VisionError: what is wrong with the body, by its code; a file that is too large is only marked.
    """
    if _read_media_type(request) != "multipart/form-data":
        raise UnsupportedMediaType("send multipart/form-data with one part named `files` for each picture")
    rules = FileRules(BATCH_FIELDS, max_file_bytes, MOST_FILES, keeps_large=True)
    form = await read_form(request.headers["content-type"], request.stream(), rules)
    try:
        form.require_file(BATCH_FIELDS[0])
        yield form.files, check_fields(fields, form.fields)
    finally:
        form.close()


def _names_url(values: Mapping[str, Any], fields: type[BaseModel]) -> bool:
    """Whether a route that takes pictures by their URL is given one."""
    return URL_FIELD in fields.model_fields and bool(values.get(URL_FIELD))


def _refuse_two_pictures(values: Mapping[str, Any], fields: type[BaseModel]) -> None:
    if _names_url(values, fields):
        raise InvalidParameter("send a picture or its `url`, not both", param=URL_FIELD)


def _parse_json(body: bytearray, fields: type[Fields], max_file_bytes: int) -> tuple[bytearray, Fields]:
    values = parse_object(body)
    encoded = values.pop("image", None)
    if encoded is None and _names_url(values, fields):
        return bytearray(), check_fields(fields, values)
    _refuse_two_pictures(values, fields)
    if not isinstance(encoded, str):
        raise FileRequired("send the picture as base64 in `image`", param="image")
    return _decode_picture(encoded, max_file_bytes), check_fields(fields, values)


def _decode_picture(text: str, max_bytes: int) -> bytearray:
    """Bytes of a data URI, or of base64; some clients leave out the `data:` of the head."""
    if is_data_uri(text):
        return decode_data_uri(text, max_bytes, "image")
    return decode_base64(text[text.find(",", 0, _LONGEST_DATA_HEAD) + 1 :], max_bytes, "image")


def picture_body(fields: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI request body of a route that takes a picture and fields."""
    schema = fields.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    properties = {name: _inline(value, definitions) for name, value in schema["properties"].items()}
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


def batch_body(fields: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI request body of a route that takes many pictures and fields."""
    schema = picture_body(fields)["requestBody"]["content"]["multipart/form-data"]["schema"]
    properties = {name: value for name, value in schema["properties"].items() if name != "file"}
    files = {"type": "array", "maxItems": MOST_FILES, "items": schema["properties"]["file"]}
    body = {"type": "object", "required": ["files"], "properties": {"files": files, **properties}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}


def json_request(schema: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI request body of a route that takes JSON."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": whole_schema(schema)}}}}


def whole_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """A model's schema, which refers to nothing."""
    raw = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    whole: dict[str, Any] = _inline(raw, raw.pop("$defs", {}))
    return whole


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with what it refers to written out, since a form's model is not among the components."""
    if isinstance(schema, list):
        return [_inline(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    definition = definitions.get(str(schema.get("$ref", "")).rpartition("/")[2], {})
    merged = {**definition, **{key: value for key, value in schema.items() if key not in ("$ref", "discriminator")}}
    return {key: _inline(value, definitions) for key, value in merged.items()}
