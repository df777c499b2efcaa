"""Where the bodies of seeds.py go: by kind, the routes that read such."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fixtures.chat_requests import CHAT_ROUTES, OLLAMA, OPENAI, chat_body
from fixtures.multipart import CONTENT_TYPE, field, form, part
from fixtures.raw_http import request

KEY = "sesame"
JSON = "application/json"
GENERATE = "/api/generate"


@dataclass(frozen=True)
class Target:
    """A route, and how mutated bytes become a body for it."""

    route: str
    content_type: str
    body_of: Callable[[bytes], bytes] = bytes

    def request(self, data: bytes) -> bytes:
        headers = {"Content-Type": self.content_type, "X-API-Key": KEY}
        return request(self.route, self.body_of(data), headers=headers)


@dataclass(frozen=True)
class Kind:
    """Seeds of one kind.

    Args:
        targets: where they may go.
        weight: their share of all mutations.
        is_json: whether their values can be changed, too.
    """

    targets: Sequence[Target]
    weight: int
    is_json: bool = True


def _in_form(data: bytes) -> bytes:
    return form(part(data), field("engine", b"echo"))


def _in_batch(data: bytes) -> bytes:
    file = part(data, 'form-data; name="files"; filename="a.png"')
    return form(file, file, field("engine", b"echo"))


def _in_json(data: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(data).decode(), "engine": "echo"}).encode()


def _in_chat(route: str) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(chat_body(route, "What is it?", pictures=[data])).encode()


PICTURES = (
    *[Target("/ocr", CONTENT_TYPE, _in_form)] * 4,
    Target("/ocr", JSON, _in_json),
    Target("/ocr/batch", CONTENT_TYPE, _in_batch),
    Target("/ocr/page", "image/png"),
    Target("/", "application/octet-stream"),
    *(Target(route, JSON, _in_chat(route)) for route in CHAT_ROUTES),
)
JSON_ROUTES = ("/models/unload", "/ocr", "/ocr/page", "/analyze_image", OPENAI, OLLAMA, GENERATE)
KINDS = {
    "pictures": Kind(PICTURES, weight=40, is_json=False),
    "forms": Kind([Target("/ocr", CONTENT_TYPE)], weight=10, is_json=False),
    "batches": Kind([Target("/ocr/batch", CONTENT_TYPE)], weight=10, is_json=False),
    "json": Kind([Target(route, JSON) for route in JSON_ROUTES], weight=5),
    "unload": Kind([Target("/models/unload", JSON)], weight=5),
    "ocr": Kind([Target("/ocr", JSON)], weight=5),
    "page": Kind([Target("/ocr/page", JSON)], weight=5),
    "analyze_image": Kind([Target("/analyze_image", JSON)], weight=5),
    "openai": Kind([Target(OPENAI, JSON)], weight=10),
    "chat": Kind([Target(OLLAMA, JSON)], weight=10),
    "generate": Kind([Target(GENERATE, JSON)], weight=5),
    "schemas": Kind([Target(OPENAI, JSON)], weight=10),
}
