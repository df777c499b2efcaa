"""Bodies of requests in the OpenAPI document, each with an example that works as it stands on every installation."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from .uploads import MOST_FILES

PICTURE_NAME = "bubble.png"
PICTURE = (files("llm_vision") / "web" / PICTURE_NAME).read_bytes()
PICTURE_BASE64 = base64.b64encode(PICTURE).decode()
PICTURE_URI = f"data:image/png;base64,{PICTURE_BASE64}"
READER = "rapidocr"
"""Its weights are part of the installation."""

Example = Mapping[str, Any]


def picture_body(fields: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that takes a picture and fields; optional fields without a default stay empty."""
    properties = whole_schema(fields)["properties"]
    picture = {"type": "string", "format": "binary", "description": "The picture"}
    encoded = {
        "type": "string",
        "format": "byte",
        "description": "The picture as base64, with or without a data URI's head",
    }
    form = {"type": "object", "required": ["file"], "properties": {"file": picture, **_as_form(properties)}}
    as_json = {"type": "object", "required": ["image"], "properties": {"image": encoded, **properties}}
    return _body(
        {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": as_json, "example": {"image": PICTURE_URI}},
            "image/png": {"schema": picture},
        }
    )


def batch_body(fields: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that takes many pictures and fields."""
    picture = {"type": "string", "format": "binary", "description": "A picture"}
    files_field = {"type": "array", "maxItems": MOST_FILES, "items": picture, "default": [PICTURE_NAME]}
    properties = _as_form(whole_schema(fields)["properties"])
    form = {"type": "object", "required": ["files"], "properties": {"files": files_field, **properties}}
    return _body({"multipart/form-data": {"schema": form}})


def json_request(schema: type[BaseModel], example: Example) -> dict[str, Any]:
    """The request body of a route that takes JSON."""
    return _body({"application/json": {"schema": whole_schema(schema), "example": example}})


def whole_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """A model's schema, which refers to nothing."""
    raw = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    whole: dict[str, Any] = _inline(raw, raw.pop("$defs", {}))
    return whole


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _as_form(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a form has them: texts, and empty where they have no default."""
    return {name: _as_form_field(schema) for name, schema in properties.items()}


def _as_form_field(schema: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    one = next((kind for kind in kinds if kind.get("type") == "string"), kinds[0] if kinds else {})
    flat = {key: value for key, value in schema.items() if key != "anyOf"} | one
    return flat if flat.get("default") is not None else {**flat, "example": ""}


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with what it refers to written out, since a form's model is not among the components."""
    if isinstance(schema, list):
        return [_inline(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    definition = definitions.get(str(schema.get("$ref", "")).rpartition("/")[2], {})
    merged = {**definition, **{key: value for key, value in schema.items() if key not in ("$ref", "discriminator")}}
    return {key: _inline(value, definitions) for key, value in merged.items()}
