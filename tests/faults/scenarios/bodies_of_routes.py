"""Good JSON bodies of the routes that take such, by kind and name: seeds for mutations.

The talker says numbers and looks at nothing; what depends on more than that is asked of the tiny LLaVA.
"""

from __future__ import annotations

import base64
from typing import Any

from fixtures.chat_requests import OLLAMA, OPENAI, chat_body, data_uri
from fixtures.live import picture_bytes
from fixtures.tiny_models import LLAVA_ID

PICTURE = base64.b64encode(picture_bytes()).decode()
URL = "https://vision.example/a.png"
SHAPES = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "name": {"type": "string", "pattern": "^[a-z]{1,4}$"},
        "colours": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2},
        "size": {"anyOf": [{"const": None}, {"$ref": "#/$defs/size"}]},
    },
    "$defs": {"size": {"type": "number", "exclusiveMinimum": 0}},
    "required": ["count"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "find", "description": "Finds shapes.", "parameters": SHAPES}}
SAMPLING = {"temperature": 0.7, "top_p": 0.9, "seed": 7}
SYSTEM = {"role": "system", "content": "Be brief."}
Bodies = dict[str, dict[str, Any]]


def _openai() -> Bodies:
    def body(text: str = "Count to five.", **fields: Any) -> dict[str, Any]:
        return chat_body(OPENAI, text, **{"max_tokens": 5, **fields})

    call = {"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"count": 1}'}}
    called = body(tools=[TOOL], tool_choice="none")
    called["messages"] += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "one red circle"},
    ]
    told = body()
    told["messages"] = [
        SYSTEM,
        *told["messages"],
        {"role": "assistant", "content": [{"type": "text", "text": "1"}, {"type": "refusal", "refusal": "no"}]},
        {"role": "user", "name": "me", "content": "Go on."},
    ]
    addressed = body()
    addressed["messages"][0]["content"].append({"type": "image_url", "image_url": {"url": URL, "detail": "low"}})
    watched = body()
    watched["messages"][0]["content"].append({"type": "stream", "stream": {"stream_id": "door"}})
    schema = {"type": "json_schema", "json_schema": {"name": "shapes", "schema": SHAPES, "strict": True}}
    one_of = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [_named("find")]}}
    return {
        "good": body(),
        "streamed": body(stream=True, stream_options={"include_usage": True}),
        "pictured": body(pictures=[picture_bytes(), picture_bytes(size=(9, 9))]),
        "sampled": body(**SAMPLING, stop=["3", " "], logprobs=True, top_logprobs=2, n=1, user="me"),
        "told": told,
        "called": called,
        "addressed": addressed,
        "watched": watched,
        "auto": body(model="auto"),
        "reader": body(model="echo", pictures=[picture_bytes()]),
        "object": body(model=LLAVA_ID, max_tokens=2, response_format={"type": "json_object"}),
        "schema": body(model=LLAVA_ID, response_format=schema, max_completion_tokens=2),
        "tools": body(model=LLAVA_ID, max_tokens=2, tools=[TOOL], tool_choice="required", parallel_tool_calls=False),
        "chosen": body(model=LLAVA_ID, max_tokens=2, tools=[TOOL], tool_choice=one_of, stream=True),
    }


def _named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _chat() -> Bodies:
    def body(**fields: Any) -> dict[str, Any]:
        return chat_body(OLLAMA, "Count to five.", **{"options": {"num_predict": 5}, **fields})

    called = body(tools=[TOOL])
    called["messages"] = [
        SYSTEM,
        *called["messages"],
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find", "arguments": {"count": 1}}}]},
        {"role": "tool", "tool_name": "find", "content": "one red circle"},
    ]
    return {
        "good": body(),
        "streamed": body(stream=True),
        "pictured": body(pictures=[picture_bytes()]),
        "sampled": body(options={**SAMPLING, "num_predict": 4, "stop": "3", "num_ctx": 2048}, keep_alive="1h30m"),
        "called": called,
        "schema": body(model=LLAVA_ID, options={"num_predict": 2}, format=SHAPES),
        "tools": body(model=LLAVA_ID, options={"num_predict": 2}, tools=[TOOL], format="json"),
        "load": {"model": "talker:latest", "messages": [], "keep_alive": -1},
        "unload": {"model": "talker", "keep_alive": 0},
    }


def _generate() -> Bodies:
    good = {"model": "talker", "prompt": "Count to five.", "stream": False, "options": {"num_predict": 5}}
    return {
        "good": good,
        "streamed": {**good, "stream": None, "system": "Be brief.", "suffix": "", "raw": False},
        "pictured": {**good, "images": [PICTURE], "context": [1, 2]},
        "schema": {**good, "model": LLAVA_ID, "options": {"num_predict": 2}, "format": SHAPES},
        "unload": {"name": "talker", "model": "", "keep_alive": "0s"},
    }


def _analyze_image() -> Bodies:
    good = {"image": PICTURE, "prompt": "What size is it?"}
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    return {
        "good": good,
        "facts": {"image": PICTURE, "fallback": "auto"},
        "talked": {**good, "model": LLAVA_ID, "history": turns, "temperature": 0.5, "top_p": 0.5, "max_tokens": 2},
        "streamed": {**good, "model": LLAVA_ID, "stream": True, "max_tokens": 2, "history": "[]"},
        "decided": {**good, "model": LLAVA_ID, "choices": ["yes", "no"], "fallback": "never"},
        "addressed": {"url": URL, "prompt": "What size is it?"},
    }


BODIES = {
    "unload": {"good": {"model": "faulty"}, "unknown": {"model": "nothing"}},
    "ocr": {
        "good": {"image": PICTURE, "engine": "echo"},
        "whole": {"image": data_uri(picture_bytes()), "engine": "echo", "language": "ja", "furigana": "keep"},
        "chosen": {"image": PICTURE, "language": "en", "fallback": "never"},
    },
    "page": {
        **{kind: {"image": PICTURE, "format": kind} for kind in ("json", "mokuro", "text", "image")},
        "whole": {"image": PICTURE, "reading_order": "ltr", "language": "ja", "furigana": "ruby", "engine": "rapidocr"},
        "crops": {"image": PICTURE, "engine": "echo", "reading_order": "rtl"},
    },
    "analyze_image": _analyze_image(),
    "openai": _openai(),
    "chat": _chat(),
    "generate": _generate(),
}
