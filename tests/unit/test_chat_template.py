"""Templates and tokenizers that come with weights run within bounds, and published ones as they always did."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from fixtures.llama_tokenizer import llama_tokenizer
from fixtures.tiny_models import LLAVA
from llm_vision.models.base import UnusableWeights
from llm_vision.models.families.vlm import template, tokenizer
from llm_vision.models.families.vlm.llava import CHATML, MISTRAL, VICUNA
from llm_vision.models.families.vlm.prompt import PromptWriter
from llm_vision.models.families.vlm.tokenizer import check_tokenizer
from llm_vision.models.loading.patience import TooCostly, run_within

IMAGE_TOKEN = 5
MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}]
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
ENDS = "{% endfor %}{% endfor %}{% endfor %}"
EXPLODING = {
    "loops in loops": LOOPS + ENDS,
    "loops in loops that write": LOOPS + "x" + ENDS,
    "a macro that calls itself": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "a power": "{{ 9**9**9**9 }}",
    "a text many times": "{{ 'a' * 10**12 }}",
    "a list many times": "{{ ([0] * 10**12)|length }}",
    "products of products": "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "a text twice, and again": "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(20) %}"
    "{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "a loop over a message": "{% for m in messages %}" + LOOPS + "{{ m }}" + ENDS + "{% endfor %}",
    "no template": "{% for %}",
    "brackets": "{{ " + "(" * 3000 + " }}",
}


@pytest.mark.parametrize("case", EXPLODING)
def test_a_template_that_explodes_is_refused_at_load(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(template, "_SECONDS", 0.3)
    with pytest.raises(UnusableWeights, match="the chat template"):
        PromptWriter(llama_tokenizer(), EXPLODING[case], "<image>").check(IMAGE_TOKEN)


def test_a_template_that_explodes_later_costs_its_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_SECONDS", 0.3)
    writer = PromptWriter(llama_tokenizer(), "{% if messages|length > 1 %}" + LOOPS + ENDS + "{% endif %}ok", "<image>")
    for _ in range(2):
        with pytest.raises(TooCostly):
            writer.write(MESSAGES * 2)
        assert writer.write(MESSAGES) == "ok"


@pytest.mark.parametrize("source", [CHATML, MISTRAL, VICUNA, "{{ bos_token }}{% generation %}{{ 2 * 3 }}{{ 2 ** 3 }}"
    "{{ 'ab' * 2 }}{{ [1] * 2 }}{{ 1.5 * 2 }}{{ messages|tojson }}{% endgeneration %}{% break %}"[:-11]])  # fmt: skip
def test_sound_templates_write_what_transformers_makes_of_them(source: str) -> None:
    writer = PromptWriter(llama_tokenizer(), source, "<image>")
    expected = llama_tokenizer().apply_chat_template(
        MESSAGES, chat_template=source, tokenize=False, add_generation_prompt=True
    )
    assert writer.write(MESSAGES) == expected


class Fast:
    """What stands for a tokenizer of Transformers."""

    def __init__(self, expression: str) -> None:
        self.backend_tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
        self.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(expression), "isolated")


@pytest.mark.parametrize("expression", [r"(a+)+$", r"(?:a|aa)+$", r"(\w+\s?)*$", r"(?:(?:a{1,99}){1,99}){1,99}b"])
def test_a_tokenizer_whose_expression_explodes_is_refused(monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    monkeypatch.setattr(tokenizer, "_SECONDS", 0.5)
    with pytest.raises(UnusableWeights, match="the tokenizer"):
        check_tokenizer(Fast(expression))


def test_a_tokenizer_that_is_slow_and_never_fails_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time grows with the cube of a text's length; what is begun goes on for half a second here."""
    monkeypatch.setattr(tokenizer, "_SECONDS", 0.02)
    monkeypatch.setattr(tokenizer, "PROBES", ["a" * 600] * 2)
    with pytest.raises(UnusableWeights, match="computes for too long"):
        check_tokenizer(Fast(r"a.*a.*b"))


SOUND = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
)
"""Of GPT-4o and Llama 3, Qwen, GPT-2."""


@pytest.mark.parametrize("expression", SOUND)
def test_expressions_of_published_tokenizers_pass(expression: str) -> None:
    check_tokenizer(Fast(expression))


def test_the_tokenizer_of_weights_passes() -> None:
    check_tokenizer(type("Read", (), {"backend_tokenizer": Tokenizer.from_file(str(LLAVA / "tokenizer.json"))}))


def test_what_a_bounded_call_raises_is_raised() -> None:
    def fail() -> Any:
        return json.loads("{")

    with pytest.raises(json.JSONDecodeError):
        run_within(5.0, fail)
    assert run_within(5.0, lambda: 7) == 7
