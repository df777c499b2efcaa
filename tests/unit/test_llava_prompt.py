"""Prompts of templates that are stricter, or laxer, than ours."""

from __future__ import annotations

import pytest

from fixtures.llama_tokenizer import llama_tokenizer
from llm_vision.models.base import JsonObject
from llm_vision.models.families.vlm.prompt import PromptWriter

FIRST_TEXT_ONLY = (
    "{% for message in messages %}{% if message['role'] == 'system' %}<<SYS>>{{ message['content'][0]['text'] }}"
    "{% elif message['role'] == 'user' %}[INST]{% for part in message['content'] if part['type'] == 'image' %}<image>"
    "{% endfor %}{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}[/INST]"
    "{% else %}{{ message['content'][0]['text'] }}{% endif %}{% endfor %}"
)
"""As llava-v1.6-mistral has it: of a system's or the assistant's turn, only the first part."""
NO_SYSTEM = "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no') }}{% endif %}" + (
    "{{ message.content[-1].text }}{% endfor %}"
)


def text(value: str) -> JsonObject:
    return {"type": "text", "text": value}


def test_a_turn_of_several_texts_is_written_whole() -> None:
    writer = PromptWriter(llama_tokenizer(), FIRST_TEXT_ONLY, "<image>")
    told = writer.write(
        [
            {"role": "system", "content": [text("tools"), text("\n"), text("You are Jarvis")]},
            {"role": "user", "content": [{"type": "image"}, text("?")]},
            {"role": "assistant", "content": [text("one"), text("two")]},
        ]
    )
    assert told == "<<SYS>>tools\nYou are Jarvis[INST]<image>?[/INST]onetwo"


def test_a_system_text_goes_in_front_of_the_question_where_there_is_no_such_role() -> None:
    writer = PromptWriter(llama_tokenizer(), NO_SYSTEM, "<image>")
    turns = [{"role": "system", "content": [text("Be brief.")]}, {"role": "user", "content": [text("Why?")]}]
    assert writer.write(turns) == "Be brief.\nWhy?"


@pytest.mark.parametrize("parts", [["<image>"], ["<ima", "ge>"], ["<", "image", ">"]])
def test_no_texts_together_make_a_mark(parts: list[str]) -> None:
    writer = PromptWriter(llama_tokenizer(), FIRST_TEXT_ONLY, "<image>")
    told = writer.write([{"role": "user", "content": [text(part) for part in parts]}])
    assert told == "[INST]< image>[/INST]"
