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
from ...http.bodies.fields import check_fields, explain_misspelt
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
    notice: str | None = None
    """That a field is not known, where a known one is spelt nearly so."""


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
        data, form, notice = await parse_body(request, lambda body: _parse_json(body, fields, max_file_bytes))
    elif kind.startswith("image/") or kind == "application/octet-stream":
        values = _with_lists(dict(request.query_params), _list_repeated(request), fields)
        _refuse_two_pictures(values, fields)
        data, form = await read_body(request), check_fields(fields, values)
        notice = explain_misspelt(fields, values)
    else:
        raise UnsupportedMediaType(
            "send multipart/form-data with a `file`, the picture itself as image/*, or JSON with base64 in `image`"
        )
    if len(data) > max_file_bytes:
        raise too_large(max_file_bytes)
    return Upload(data, form, notice=notice)


def _read_media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read_multipart(request: Request, fields: type[Fields], rules: FileRules) -> Upload[Fields]:
    form = await read_form(request.headers["content-type"], request.stream(), rules)
    try:
        texts = {name: value for name, value in form.fields.items() if name not in FILE_FIELDS}
        values = _with_lists(texts, form.repeated, fields)
        notice = explain_misspelt(fields, values)
        if not form.files and _names_url(values, fields):
            return Upload(b"", check_fields(fields, values), notice=notice)
        part = form.require_file(FILE_FIELDS[0])
        _refuse_two_pictures(values, fields)
        if part.name == FOREIGN_FIELD:
            values.pop("engine", None)  # of the client's own list
        return Upload(await read_part(part), check_fields(fields, values), part.name, texts, notice)
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
        raise UnsupportedMediaType("send multipart/form-data with one part named `files` for each image")
    rules = FileRules(BATCH_FIELDS, max_file_bytes, MOST_FILES, keeps_large=True)
    form = await read_form(request.headers["content-type"], request.stream(), rules)
    try:
        form.require_file(BATCH_FIELDS[0])
        yield form.files, check_fields(fields, form.fields)
    finally:
        form.close()


def _list_repeated(request: Request) -> dict[str, list[str]]:
    query = request.query_params
    return {name: values for name in query if len(values := query.getlist(name)) > 1}


def _with_lists(
    texts: Mapping[str, str], repeated: Mapping[str, list[str]], fields: type[BaseModel]
) -> dict[str, str | list[str]]:
    """The fields, with all values of those that may come more than once (`repeatable` of their class)."""
    repeatable = getattr(fields, "repeatable", ())
    return {**texts, **{name: values for name, values in repeated.items() if name in repeatable}}


def _names_url(values: Mapping[str, Any], fields: type[BaseModel]) -> bool:
    """Whether a route that takes pictures by their URL is given one."""
    return URL_FIELD in fields.model_fields and bool(values.get(URL_FIELD))


def _refuse_two_pictures(values: Mapping[str, Any], fields: type[BaseModel]) -> None:
    if _names_url(values, fields):
        raise InvalidParameter("send an image or its `url`, not both", param=URL_FIELD)


def _parse_json(body: bytearray, fields: type[Fields], max_file_bytes: int) -> tuple[bytearray, Fields, str | None]:
    values = parse_object(body)
    encoded = values.pop("image", None)
    notice = explain_misspelt(fields, values)
    if encoded is None and _names_url(values, fields):
        return bytearray(), check_fields(fields, values), notice
    _refuse_two_pictures(values, fields)
    if not isinstance(encoded, str):
        raise FileRequired("send the image as base64 in `image`", param="image")
    return _decode_picture(encoded, max_file_bytes), check_fields(fields, values), notice


def _decode_picture(text: str, max_bytes: int) -> bytearray:
    """Bytes of a data URI, or of base64; some clients leave out the `data:` of the head."""
    if is_data_uri(text):
        return decode_data_uri(text, max_bytes, "image")
    return decode_base64(text[text.find(",", 0, _LONGEST_DATA_HEAD) + 1 :], max_bytes, "image")
