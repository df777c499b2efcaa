"""What a client asks a container, and what it must answer."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import httpx2

from compat.asked import Asked, colours
from containers.project import ROOT, Project
from fixtures.encoding import saved
from fixtures.japanese_crops import Crop, crops
from fixtures.tiny_models import LLAVA_ID

BUBBLE = ROOT / "demo" / "pictures" / "bubble.png"
PAGE = ROOT / "demo" / "pictures" / "page.png"
SECONDS = 120


@cache
def colour() -> Asked:
    """A picture and a question whose answer is a colour."""
    return colours()[1]


@cache
def crop() -> Crop:
    return next(crops(1, seed=11))


def post(project: Project, route: str, picture: bytes, **fields: str) -> httpx2.Response:
    return httpx2.post(f"{project.url}{route}", files={"file": picture}, data=fields, timeout=SECONDS)


def download(project: Project) -> dict[str, Any]:
    """How the download of manga-ocr, asked for over HTTP, has ended."""
    told = httpx2.post(f"{project.url}/models/download", json={"model": "manga-ocr"}, timeout=SECONDS)
    last: dict[str, Any] = json.loads(told.text.splitlines()[-1])
    return last


def reads_crop(project: Project) -> dict[str, Any]:
    """MangaOCR's answer, right."""
    body: dict[str, Any] = post(project, "/ocr", saved(crop().picture)).json()
    assert (body["text"], body["engine"], body["degraded"]) == (crop().text, "manga-ocr", False), body
    return body


def reads_bubble(project: Project) -> dict[str, Any]:
    """The embedded reader's answer about a drawn bubble, right."""
    body: dict[str, Any] = post(project, "/ocr", BUBBLE.read_bytes(), engine="rapidocr").json()
    assert body["text"] == json.loads(BUBBLE.with_suffix(".json").read_text())["text"], body
    return body


def answers(project: Project) -> list[dict[str, Any]]:
    """Both models' answers from the weights on the volumes, right; without what differs each time."""
    read = reads_crop(project)
    told = post(project, "/analyze_image", colour().png, prompt=colour().prompt, model=LLAVA_ID).json()
    assert (told["analysis"], told["model"]) == (colour().answer, LLAVA_ID), told
    return [{name: value for name, value in body.items() if name != "processing_ms"} for body in (read, told)]
