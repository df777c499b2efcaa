"""Grammars of answers: JSON, JSON of a schema, or calls of tools; by llguidance (MIT)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from ...errors import InvalidParameter, InvalidToolSchema, VisionError
from ..base import JsonObject
from ..tasks.chat import JsonFormat, ResponseFormat, ToolsFormat
from ..tool_text import AUTO, REQUIRED, may_be_words
from .schemas import SchemaWriter, UnusableSchema, apart_from_calls

MOST_CALLS = 16
"""Of tools, in one answer."""
_TOO_COMPLICATED = "it is too complicated to be followed"
_BESIDE_TOOLS = "; beside tools, an answer may not look like a call of one"
_OBJECT = {"type": "object"}
_NO_ARGUMENTS = {"type": "object", "properties": {}}
_WHOLE = frozenset({"NoExtension", "EndOfSentence"})
"""Why a matcher stops when all is well."""
_WRITING = {"whitespace_pattern": r" |\n {0,20}", "json_allowed_escapes": 'nrbtf\\"'}
"""At most a space, or a line's end and its indentation, wherever JSON lets space be. No `\\u`: with it, the name of a
property could be written a second time in disguise."""
_ANSWER = 'start: SPACE? @answer\nSPACE: " "\n'
"""Many models begin an answer with a space."""
_ANSWER_OR_WORDS = 'start: SPACE? (@answer | WORDS)\nSPACE: " "\nWORDS: /[^\\s\\x1c-\\x1f{\\[](?s:.*)/\n'

_LIMITS = LLParserLimits(max_items_in_row=4000, max_lexer_states=50_000, max_grammar_size=100_000, verbose_errors=False)
"""Of what a schema costs: about 20 ms to begin, 15 ms a token and 100 MB, as llguidance counts."""

Refusal = Callable[[str], VisionError]


class Grammars:
    """Makes grammars for one tokenizer.

    Args:
        tokenizer: a fast one of Transformers, as JSON.
        ends: the tokens that end an answer.
        width: of the logits, which may have more places than there are tokens.

    Raises:
        ValueError: the tokenizer is of a kind that cannot be constrained.
    """

    def __init__(self, tokenizer: str, ends: Sequence[int], width: int) -> None:
        self._tokens = _tokens(tokenizer, width, list(ends))

    def grammar(self, wanted: ResponseFormat) -> Grammar:
        """What an answer must look like.

        Args:
            wanted: JSON, or calls of tools: one call as `tool_text` says, or, in parallel, also a list of them; where
                nothing must be called, also JSON of the format `otherwise`, or else words. What looks like a call is
                one.

        Raises:
            InvalidParameter: the schema of `response_format` cannot be followed.
            InvalidToolSchema: the parameters of a tool cannot.
        """
        if isinstance(wanted, JsonFormat):
            return self._written(_ANSWER, lambda: _answer(wanted), _refused_format)
        otherwise = wanted.otherwise if wanted.choice == AUTO else None
        beginning = _ANSWER_OR_WORDS if may_be_words(wanted) else _ANSWER
        calls = self._written(beginning, lambda: _calls(wanted), _refused_tools)
        if not otherwise:
            return calls
        self._written(_ANSWER, lambda: _no_calls(otherwise), _refused_format, _BESIDE_TOOLS)  # nothing may be left
        return self._written(_ANSWER, lambda: _calls(wanted, otherwise), _refused_format)

    def _written(self, beginning: str, schema: Callable[[], JsonObject], refusal: Refusal, remark: str = "") -> Grammar:
        try:
            written = schema()
        except UnusableSchema as error:
            raise refusal(str(error)) from error
        grammar = {
            "grammars": [
                {"lark_grammar": beginning},
                {"name": "answer", "json_schema": {**written, "x-guidance": _WRITING}},
            ]
        }
        matcher = LLMatcher(self._tokens, json.dumps(grammar), log_level=0, limits=_LIMITS)
        if matcher.is_error() or matcher.get_grammar_warnings():  # a warning says that something is not followed
            raise refusal(f"the schema is malformed or allows no answer, or {_TOO_COMPLICATED}{remark}")
        return Grammar(matcher, refusal)


def _tokens(tokenizer: str, width: int, ends: list[int]) -> LLTokenizer:
    try:
        return LLTokenizer(tokenizer, n_vocab=width, eos_token=ends, slices=LLTokenizer.json_slices())
    except BaseException as error:  # a panic of Rust is no Exception, and would end the process
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError("llguidance cannot read this tokenizer") from error


class Grammar:
    """What may come next in one answer.

    Args:
        matcher: llguidance's, at the beginning.
        refusal: makes the error for a schema that turns out to be too complicated on the way.
    """

    def __init__(self, matcher: LLMatcher, refusal: Refusal) -> None:
        self._matcher = matcher
        self._refusal = refusal

    def mask(self) -> bytes:
        """The tokens that may come next, a bit for each, the lowest first; an end where the answer is whole.

        Raises:
            InvalidParameter, InvalidToolSchema: the schema is too complicated to go on.
        """
        bits = self._matcher.compute_bitmask()
        is_broken = self._matcher.is_stopped() and self._matcher.stop_reason() not in _WHOLE
        if is_broken or self._matcher.is_error() or not any(bits):
            raise self._refusal(f"the schema allows no way on, or {_TOO_COMPLICATED}")
        return bits

    def take(self, token: int) -> None:
        """Go on behind the token that was chosen, one of those that were allowed."""
        self._matcher.consume_token(token)


def _refused_format(detail: str) -> VisionError:
    return InvalidParameter(detail, param="response_format")


def _refused_tools(detail: str) -> VisionError:
    return InvalidToolSchema(detail, param="tools")


def _answer(wanted: JsonFormat) -> JsonObject:
    writer = SchemaWriter()
    return writer.document(writer.add(_schema_of(wanted)))


def _schema_of(wanted: JsonFormat) -> Any:
    return _OBJECT if wanted.schema is None else wanted.schema


def _no_calls(wanted: JsonFormat) -> JsonObject:
    writer = SchemaWriter()
    return writer.document(_add_json(wanted, writer))


def _add_json(wanted: JsonFormat, writer: SchemaWriter) -> JsonObject:
    written = writer.add(_schema_of(wanted))
    writer.document(written)  # checks that it can be looked at
    return apart_from_calls(written, writer.definitions)


def _calls(wanted: ToolsFormat, otherwise: JsonFormat | None = None) -> JsonObject:
    """The schema of calls, and of the answers of another format that are none."""
    writer = SchemaWriter()
    choice = wanted.choice
    tools = [tool for tool in wanted.tools if choice in {AUTO, REQUIRED, tool["name"]}]
    writer.definitions["call"] = {"anyOf": [_call(tool, writer) for tool in tools]}
    options: list[JsonObject] = [{"$ref": "#/$defs/call"}]
    if wanted.parallel and choice in {AUTO, REQUIRED}:
        options.append({"type": "array", "items": options[0], "minItems": 1, "maxItems": MOST_CALLS})
    if otherwise:
        options.append(_add_json(otherwise, writer))
    return writer.document({"anyOf": options})


def _call(tool: JsonObject, writer: SchemaWriter) -> JsonObject:
    arguments = writer.add(_parameters(tool.get("parameters")))
    if not writer.is_object(arguments):
        raise UnusableSchema("the parameters of a tool must be a schema of type object")
    members = {"name": {"enum": [tool["name"]]}, "arguments": arguments}
    return {"type": "object", "properties": members, "required": [*members], "additionalProperties": False}


def _parameters(schema: Any) -> Any:
    """Without a schema a tool takes nothing; with an empty one, anything."""
    if schema is None:
        return _NO_ARGUMENTS
    return _OBJECT if schema == {} else schema
