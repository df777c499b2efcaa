"""What `make fuzz` mutates: the small files of the tables, one good picture a format, forms and JSON bodies.

Each kind is one of scenarios/targets.py, which says where such bodies go.
"""

from __future__ import annotations

import json
from typing import Any

from PIL import Image

from faults.scenarios.bodies_of_routes import BODIES
from faults.scenarios.targets import KINDS
from faults.test_every_code import DEEP
from fixtures import bad_pictures
from fixtures.bad_pictures import NOISE
from fixtures.chat_requests import OPENAI, chat_body
from fixtures.encoding import saved
from fixtures.live import picture_bytes
from fixtures.multipart import END, field, form, part
from fixtures.nasty_schemas import NASTY, as_tools, intersections
from fixtures.sound_schemas import SCHEMAS
from fixtures.tiny_models import LLAVA_ID

MOST_BYTES = 20_000
SMALL = NOISE.resize((48, 36))


def pictures() -> dict[str, bytes]:
    found = {f"row_{row}-{name}": data for row, name, data, _ in bad_pictures.cases()}
    found |= {f"row_62-{name}": data for name, (data, _) in bad_pictures.row_62().items()}
    found |= {f"good-{kind.lower()}": saved(SMALL, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")}
    found["good-progressive"] = saved(SMALL, "JPEG", progressive=True)
    found["good-lossless"] = saved(SMALL, "WEBP", lossless=True)
    found["good-palette"] = saved(SMALL.convert("P", palette=Image.Palette.ADAPTIVE), "PNG")
    found["good-interlaced"] = saved(SMALL, "GIF", interlace=1)
    return found


def forms() -> dict[str, bytes]:
    picture = picture_bytes()
    engine = field("engine", b"echo")
    return {
        "good": form(part(picture), engine, field("language", b"ja"), field("furigana", b"keep")),
        "unnamed": form(part(picture, "form-data")),
        "quoted": form(part(picture, 'form-data; name="file"; filename="a\\"b.png"'), engine),
        "star": form(part(picture, "form-data; name=file; filename*=UTF-8''%e3%81%82.png"), engine),
        "headers": form(
            part(picture, extra=b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n"), engine
        ),
        "preamble": b"hello\r\n" + form(part(picture), engine) + b"bye",
        "two": form(part(picture), part(picture)),
        "empty": END,
        "fields": form(*[field(f"f{number}", b"x" * number) for number in range(15)]),
        "text": form(field("file", b"text"), field("prompt", "読んで".encode())),
    }


def batches() -> dict[str, bytes]:
    picture, text = (
        part(data, f'form-data; name="files"; filename="{n}"') for n, data in enumerate((picture_bytes(), b"x"))
    )
    engine = field("engine", b"echo")
    return {
        "good": form(picture, picture, engine),
        "mixed": form(
            picture, text, part(picture_bytes()), part(picture_bytes(), 'form-data; name="files[]"; filename=""')
        ),
        "many": form(*[text] * 65, engine),
        "none": form(engine),
        "text": form(field("files", b"text"), engine),
        "fields": form(picture, engine, field("language", b"en"), field("furigana", b"strip")),
    }


def json_bodies() -> dict[str, bytes]:
    """What breaks any reader of JSON."""
    return {
        "good": b'{"model": "faulty"}',
        "nested": DEEP,
        "types": b'{"model": [1, -2.5e3, true, null, {"a": "\\ud83d\\ude00"}], "b": []}',
        "numbers": b'{"model": 1e308, "keep_alive": -0.0, "x": 12345678901234567890}',
        "nan": b'{"keep_alive": NaN}',
        "duplicate": b'{"a": 1, "a": 2}',
        "surrogate": b'{"model": "\\ud800"}',
        "escapes": json.dumps({"model": 'a"\\\n\t/é\u2028'}).encode(),
        "blank": b" \n",
        "array": b"[[], {}, 1]",
    }


def schemas() -> dict[str, bytes]:
    """What an answer must fit: sound, nasty and joined schemas, as a format and as a tool's parameters."""
    found: dict[str, Any] = {**SCHEMAS, **{f"nasty {name}": schema for name, schema in NASTY.items()}}
    found |= {f"joined {number}": schema for number, schema in enumerate(intersections(60))}
    bodies = {}
    for name, schema in found.items():
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        bodies[name] = chat_body(OPENAI, "What is it?", LLAVA_ID, max_tokens=4, response_format=wanted)
        bodies[f"{name} as a tool"] = chat_body(OPENAI, "What is it?", LLAVA_ID, max_tokens=4, tools=as_tools([schema]))
    return {name: json.dumps(body, ensure_ascii=False).encode() for name, body in bodies.items()}


def seeds() -> dict[str, list[bytes]]:
    """Of each kind, the small ones, always in the same order."""
    routes = {
        kind: {name: json.dumps(body, ensure_ascii=False).encode() for name, body in bodies.items()}
        for kind, bodies in BODIES.items()
    }
    known = {
        "pictures": pictures(),
        "forms": forms(),
        "batches": batches(),
        "json": json_bodies(),
        "schemas": schemas(),
        **routes,
    }
    assert known.keys() == KINDS.keys()
    return {kind: [data for _, data in sorted(known[kind].items()) if len(data) <= MOST_BYTES] for kind in KINDS}
