"""Drawn pictures, questions about them and the only right answers, in the forms that clients send."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from fixtures.encoding import saved
from fixtures.shapes import Question, Scene, held_out

FIRST_SHAPE = "Describe the first shape in JSON."


class Shape(BaseModel):
    """What is asked for with FIRST_SHAPE."""

    color: Literal["black", "blue", "green", "purple", "red", "yellow"]
    shape: Literal["circle", "cross", "square", "triangle"]


class Asked:
    """A picture and a question that the tiny model answers right."""

    def __init__(self, scene: Scene, question: Question) -> None:
        self.prompt = question.prompt
        self.answer = question.answer
        self.png = saved(scene.draw())

    @property
    def base64(self) -> str:
        return base64.b64encode(self.png).decode()

    @property
    def data_uri(self) -> str:
        return f"data:image/png;base64,{self.base64}"

    @property
    def json(self) -> Any:
        """The answer, where it is JSON."""
        return json.loads(self.answer)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Text and picture as OpenAI's content parts."""
        return [{"type": "text", "text": self.prompt}, {"type": "image_url", "image_url": {"url": self.data_uri}}]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """One user's message as OpenAI writes it."""
        return [{"role": "user", "content": self.parts}]

    @property
    def ollama_messages(self) -> list[dict[str, Any]]:
        """The same as Ollama writes it."""
        return [{"role": "user", "content": self.prompt, "images": [self.png]}]


@cache
def colours() -> tuple[Asked, ...]:
    """Four questions about colours: black, yellow, black, green."""
    return tuple(Asked(*pair) for pair in held_out(4, 1, "colour"))


@cache
def descriptions() -> tuple[Asked, ...]:
    """Two questions with answers of several words."""
    return tuple(Asked(*pair) for pair in held_out(2, 1, "description"))


@cache
def first_shapes() -> tuple[Asked, ...]:
    """Three questions with answers like `{"color": "black", "shape": "cross"}`."""
    pairs = held_out(8, 1, "json")
    return tuple(Asked(scene, question) for scene, question in pairs if question.prompt == FIRST_SHAPE)[:3]
