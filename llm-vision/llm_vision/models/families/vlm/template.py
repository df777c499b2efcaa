"""Chat templates: Jinja that comes with the weights, run in a sandbox and within bounds of time and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...base import JsonObject, UnusableWeights
from ...loading.patience import TooCostly, interrupted_after

_SECONDS = 5.0
"""Of processor time for one prompt; those of published checkpoints take milliseconds."""
_MOST_CHARACTERS = 4 * 1024 * 1024
"""Of one prompt; the longest that a model reads has half a million."""
_MOST_ITEMS = 1024 * 1024
_MOST_BITS = 4096


class ChatTemplate:
    """A template ready to be filled in, with the filters and functions that Transformers gives it.

    Args:
        source: Jinja.
        marks: the tokenizer's special tokens, by name.

    Raises:
        UnusableWeights: it cannot be understood.
    """

    def __init__(self, source: str, marks: Mapping[str, Any]) -> None:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import _cached_compile_jinja_template

        environment = _cached_compile_jinja_template("").environment
        environment.intercepted_binops = frozenset({"*", "**"})
        environment.binop_table = {**environment.binop_table, "*": _bounded_product, "**": _bounded_power}
        try:
            with interrupted_after(_SECONDS):
                self._template = environment.from_string(source)
        except (TemplateError, RecursionError, TooCostly) as error:
            raise UnusableWeights("the chat template does not work") from error
        self._marks = marks

    def write(self, messages: Sequence[JsonObject]) -> str:
        """The prompt, up to where the answer begins.

        Raises:
            TemplateError: the template fails, or does what the sandbox forbids.
            TooCostly: it takes too long.
        """
        from jinja2 import TemplateError

        with interrupted_after(_SECONDS):
            text: str = self._template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=True, **self._marks
            )
        if len(text) > _MOST_CHARACTERS:
            raise TemplateError("the prompt is longer than any model reads")
        return text


def _bounded_product(left: Any, right: Any) -> Any:
    """Nothing else interrupts the product of two large numbers, or a text many times."""
    if isinstance(left, int) and isinstance(right, int):
        _refuse_if(left.bit_length() + right.bit_length() > _MOST_BITS)
    for one, other in ((left, right), (right, left)):
        if isinstance(one, int) and not isinstance(other, int | float):
            _refuse_if(one * len(other) > _MOST_ITEMS)
    return left * right


def _bounded_power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _refuse_if(left.bit_length() * abs(right) > _MOST_BITS)
    return left**right


def _refuse_if(is_too_large: bool) -> None:
    from jinja2.exceptions import SecurityError

    if is_too_large:
        raise SecurityError("a template may not make that much")
