"""Messages as the text that a checkpoint was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ...base import JsonObject, UnusableWeights
from ...loading.patience import TooCostly
from .marks import Marks
from .template import ChatTemplate
from .tokenizer import check_tokenizer

_TURNS = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'system' -%}{{ SYSTEM }}"
    "{%- elif message.role == 'user' -%}{{ USER }}"
    "{%- for part in message.content if part.type == 'image' -%}{{ IMAGE }}{%- endfor -%}"
    "{%- else -%}{{ ASSISTANT }}{%- endif -%}"
    "{%- for part in message.content if part.type == 'text' -%}{{ part.text }}{%- endfor -%}"
    "{%- if message.role == 'system' -%}{{ AFTER_SYSTEM }}"
    "{%- elif message.role == 'user' -%}{{ AFTER_USER }}"
    "{%- else -%}{{ AFTER_ASSISTANT }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ ASSISTANT_NEXT }}{%- endif -%}"
)


def write_template(**marks: str) -> str:
    """The turns with a family's marks: `IMAGE`, before and after each role, and where the answer begins."""
    template = _TURNS
    for name, text in marks.items():
        template = template.replace("{{ " + name + " }}", f"{{{{ {json.dumps(text)} }}}}")
    return template


def find_template(folder: Path, tokenizer: Any) -> str | None:
    """The checkpoint's own chat template (Jinja), wherever its version of Transformers has put it.

    Raises:
        UnusableWeights: a file that should hold it is damaged.
    """
    plain = folder / "chat_template.jinja"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json"):
        file = folder / name
        try:
            template = json.loads(file.read_text(encoding="utf-8")).get("chat_template") if file.is_file() else None
        except (ValueError, AttributeError) as error:
            raise UnusableWeights(f"{name} is damaged") from error
        if isinstance(template, str):
            return template
    template = tokenizer.chat_template
    return template if isinstance(template, str) else None


class PromptWriter:
    """Writes prompts for one checkpoint.

    Args:
        tokenizer: of Transformers.
        template: Jinja; run in a sandbox, since it comes with the weights.
        image_mark: what the template writes once for each picture.

    Raises:
        UnusableWeights: the template cannot be understood.
    """

    def __init__(self, tokenizer: Any, template: str, image_mark: str) -> None:
        self._tokenizer = tokenizer
        self._template = ChatTemplate(template, tokenizer.special_tokens_map)
        self._marks = Marks(tokenizer, image_mark)

    def write(self, messages: Sequence[JsonObject]) -> str:
        """The prompt up to the place where the answer begins, with the mark of an image once for each picture.

        A text of a message is only text: the marks that stand in it are spelled otherwise.

        Raises:
            InvalidText: a text remains a mark, however it is spelled.
        """
        from jinja2 import TemplateError

        try:
            return self._apply(messages)
        except TemplateError:
            return self._apply(_fold_system(messages))  # some templates refuse the role

    def check(self, image_token: int) -> None:
        """Write a prompt with a picture.

        Raises:
            UnusableWeights: the template fails, does what the sandbox forbids, takes too long, or leaves the picture
                out; or the tokenizer does.
        """
        from jinja2 import TemplateError

        check_tokenizer(self._tokenizer)
        question = [{"type": "image"}, {"type": "text", "text": "?"}]
        try:
            ids = self.tokenize(self.write([{"role": "user", "content": question}]))
        except (TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise UnusableWeights("the chat template does not work") from error
        except TooCostly as error:
            raise UnusableWeights("the chat template computes for too long") from error
        if ids.count(image_token) != 1:
            raise UnusableWeights("the chat template does not say where the picture is")

    def tokenize(self, text: str) -> list[int]:
        """The token ids, with the one that begins a text."""
        begin = self._tokenizer.bos_token
        has_begin = bool(begin) and text.startswith(begin)
        ids: list[int] = self._tokenizer(text, add_special_tokens=not has_begin).input_ids
        return ids

    def tokenize_more(self, text: str) -> list[int]:
        """The token ids of a client's text that goes on with another one."""
        (harmless,) = self._marks.spell_apart([text])
        ids: list[int] = self._tokenizer(harmless, add_special_tokens=False).input_ids
        return ids

    def _apply(self, messages: Iterable[JsonObject]) -> str:
        return self._template.write([self._spell_marks_apart(message) for message in messages])

    def _spell_marks_apart(self, message: JsonObject) -> JsonObject:
        parts = _merge_texts(message["content"])
        texts = iter(self._marks.spell_apart([part["text"] for part in parts if part["type"] == "text"]))
        content = [{"type": "text", "text": next(texts)} if part["type"] == "text" else part for part in parts]
        return {"role": message["role"], "content": content}


def _fold_system(messages: Iterable[JsonObject]) -> Iterable[JsonObject]:
    """The messages with each system text in front of the text of the next question."""
    waiting: list[JsonObject] = []
    for message in messages:
        if message["role"] == "system":
            waiting += [*message["content"], {"type": "text", "text": "\n"}]
        elif message["role"] == "user":
            yield {"role": "user", "content": _merge_texts([*waiting, *message["content"]])}
            waiting = []
        else:
            yield message


def _merge_texts(parts: Iterable[JsonObject]) -> list[JsonObject]:
    """Texts that follow each other as one: some templates write only the first of a turn."""
    merged: list[JsonObject] = []
    for kind, run in groupby(parts, key=lambda part: part["type"]):
        if kind == "text":
            merged.append({"type": "text", "text": "".join(part["text"] for part in run)})
        else:
            merged += run
    return merged
