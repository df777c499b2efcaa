"""Answers that must be JSON, JSON of a schema, or calls of tools: random models cannot write anything else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
import torch
from transformers import AutoTokenizer

from fixtures.counts import many
from fixtures.llama_tokenizer import llama_tokenizer
from fixtures.sound_schemas import SCHEMAS, Tree, thing
from fixtures.tiny_models import LLAVA
from llm_vision.errors import InvalidParameter, InvalidToolSchema, VisionError
from llm_vision.models.base import JsonObject
from llm_vision.models.grammar.constraints import only
from llm_vision.models.grammar.grammar import Grammar, Grammars
from llm_vision.models.tasks.chat import response_format_from_json
from llm_vision.models.tool_text import tool_calls

WIDER = 77
"""Places of the logits behind the tokenizer's last token."""


@dataclass
class Here:
    """A grammar in this process: `Constraints` has each in another."""

    grammar: Grammar

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        return only(self.grammar.mask(), logits)

    def take(self, token: int) -> None:
        self.grammar.take(token)


@dataclass
class Kit:
    """A tokenizer and random models that use it."""

    tokenizer: Any
    grammars: Grammars = field(init=False)

    def __post_init__(self) -> None:
        self.end: int = self.tokenizer.eos_token_id
        self.width = len(self.tokenizer) + WIDER
        self.grammars = Grammars(self.tokenizer.backend_tokenizer.to_str(), [self.end], self.width)
        texts = [self.text([token]).strip() for token in range(len(self.tokenizer))]
        self._closing = torch.zeros(self.width)  # so that a random walk comes to an end
        self._closing[: len(texts)] = torch.tensor([float(text != "" and set(text) <= set('"}]')) for text in texts])
        self._closing[self.end] = 3

    def text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.backend_tokenizer.decode(tokens, skip_special_tokens=True))

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def constraint(self, wanted: JsonObject) -> Here:
        """Of a response format as the wire has it."""
        response_format = response_format_from_json(wanted)
        assert response_format
        return Here(self.grammars.grammar(response_format))

    def steps(self, constraint: Here, seed: int) -> Iterator[tuple[torch.Tensor, list[int]]]:
        """What is allowed at each step of a random walk, and the tokens in front of it; the end is the last step."""
        random = torch.Generator().manual_seed(seed)
        tokens: list[int] = []
        while True:
            logits = torch.randn(self.width, generator=random) * 1.5 + self._closing * len(tokens) / 25
            allowed = constraint.allowed(logits)
            yield allowed, tokens
            token = int(allowed.argmax())
            assert allowed[token] == logits[token]
            constraint.take(token)
            if token == self.end:
                return
            tokens.append(token)
            assert len(tokens) < 2000, self.text(tokens)

    def answer(self, wanted: JsonObject, seed: int) -> str:
        tokens: list[int] = []
        for _, tokens in self.steps(self.constraint(wanted), seed):  # noqa: B007
            pass
        return self.text(tokens).strip()

    def can_write(self, wanted: JsonObject, text: str, tokens: list[int] | None = None) -> bool:
        """Whether an answer can be this text as the tokenizer reads it, and end there."""
        constraint = self.constraint(wanted)
        for token in [*(self.tokens(text) if tokens is None else tokens), self.end]:
            if constraint.allowed(torch.zeros(self.width))[token] != 0:
                return False
            constraint.take(token)
        return True


KINDS = ("byte-level", "llama")


@pytest.fixture(scope="module", params=KINDS)
def kit(request: pytest.FixtureRequest) -> Kit:
    return Kit(AutoTokenizer.from_pretrained(LLAVA) if request.param == "byte-level" else llama_tokenizer())


@pytest.fixture(scope="module")
def tiny() -> Kit:
    return Kit(AutoTokenizer.from_pretrained(LLAVA))


def _multiple(_: Any, step: float, value: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, int | float) and not isinstance(value, bool) and Decimal(repr(value)) % Decimal(repr(step)):
        yield jsonschema.ValidationError("no multiple")  # the library's own test counts in doubles


def check(text: str, schema: JsonObject) -> None:
    """The text is JSON that fits the schema."""
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"multipleOf": _multiple})
    formats = jsonschema.Draft202012Validator.FORMAT_CHECKER
    old = {"prefixItems": schema["items"], "items": False} if isinstance(schema.get("items"), list) else {}
    validator({**schema, **old}, format_checker=formats).validate(json.loads(text))


def of_schema(schema: Any) -> JsonObject:
    return {"type": "json_schema", "schema": schema}


@pytest.mark.parametrize("name", SCHEMAS)
def test_random_answers_fit_the_schema(kit: Kit, name: str) -> None:
    for seed in range(many(4, 2)):
        check(kit.answer(of_schema(SCHEMAS[name]), seed), SCHEMAS[name])


def test_random_answers_are_objects(kit: Kit) -> None:
    answers = {kit.answer({"type": "json_object"}, seed) for seed in range(10)}
    assert all(isinstance(json.loads(answer), dict) for answer in answers)
    assert len(answers) > 5


@pytest.mark.parametrize("schema", [SCHEMAS["pydantic union"], {"type": "integer"}, {"type": "string"}])
def test_the_end_is_allowed_exactly_where_the_answer_is_whole(kit: Kit, schema: JsonObject) -> None:
    for seed in range(3):
        constraint = kit.constraint(of_schema(schema))
        for allowed, tokens in kit.steps(constraint, seed):
            try:
                check(kit.text(tokens), schema)
            except (ValueError, jsonschema.ValidationError):
                assert allowed[kit.end] == -torch.inf
            else:
                assert allowed[kit.end] > -torch.inf


def test_tokens_that_are_no_text_are_never_allowed(kit: Kit) -> None:
    special = set(kit.tokenizer.all_special_ids) - {kit.end}
    for wanted in ({"type": "json_object"}, tools("auto")):
        for allowed, _ in kit.steps(kit.constraint(wanted), seed=1):
            assert allowed.shape == (kit.width,)
            assert bool((allowed[len(kit.tokenizer) :] == -torch.inf).all()), "logits behind the last token"
            assert bool((allowed[list(special)] == -torch.inf).all())


FRUIT = thing(color={"type": "string"}, sizes={"type": "array", "items": {"type": "integer"}})
PLAIN = {"color": "red", "sizes": [1, 2]}


@pytest.mark.parametrize("text", [
    json.dumps(PLAIN), json.dumps(PLAIN, separators=(",", ":")), json.dumps(PLAIN, indent=2),
])  # fmt: skip
def test_json_as_models_have_learned_to_write_it_is_allowed(kit: Kit, text: str) -> None:
    assert kit.can_write(of_schema(FRUIT), text)
    assert kit.tokenizer.name_or_path == "" or kit.can_write(of_schema(FRUIT), f" {text}")  # Llama's has one in front


@pytest.mark.parametrize("text", [
    '  {"color":"red","sizes":[]}', '{"color":"red","sizes":[]} ', '{\n\n"color":"red","sizes":[]}',
    '{"color":  "red","sizes":[]}', '{"color":"red","sizes":[' + "\n" + " " * 21 + "]}", '{"color":"red","sizes":[\t]}',
])  # fmt: skip
def test_space_without_end_is_not(tiny: Kit, text: str) -> None:
    assert not tiny.can_write(of_schema(FRUIT), text)


def test_the_first_token_may_be_the_one_with_a_space(kit: Kit) -> None:
    allowed = kit.constraint({"type": "json_object"}).allowed(torch.zeros(kit.width))
    beginnings = {kit.tokenizer.convert_ids_to_tokens(int(token)) for token in (allowed == 0).nonzero()}
    assert {"{", "▁{", '▁{"'} <= beginnings or {"{", "Ġ", "Ġ{"} & beginnings >= {"{", "Ġ"}


def test_a_property_cannot_be_written_again_in_disguise(tiny: Kit) -> None:
    wanted = of_schema({**thing(a={"type": "integer"}), "additionalProperties": True})
    assert tiny.can_write(wanted, '{"a":1,"b":"x"}')
    assert not tiny.can_write(wanted, '{"a":1,"a":"x"}')
    assert not tiny.can_write(wanted, '{"a":1,"\\u0061":"x"}')


@pytest.mark.parametrize(("schema", "fits", "does_not"), [
    ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, ["0.1", "0.5"], ["0", "0.0", "-0", "0.51"]),
    ({"type": "number", "exclusiveMaximum": 1}, ["0.9", "-7"], ["1", "1.0", "0.99999999999999999999"]),
    ({"type": "integer", "minimum": 2**53 + 1}, [str(2**53 + 2)], [str(2**53), str(2**53 + 1)]),
    ({"type": "integer"}, ["-999999999999999999"], ["1" * 20, "1.0"]),
    ({"type": "string", "pattern": "^[^a&&b]$"}, ['"c"'], ['"a"', '"&"', '"b"']),
    ({"type": "string", "pattern": "^.$"}, ['"c"'], ['"\\r"', '"\u2028"', '"cc"']),
    ({"type": "string", "pattern": r"^\s\S$"}, ['" c"', '"\ufeffc"'], ['"\u0085c"', '" \ufeff"']),
    ({"type": "string", "pattern": r"^[\d-x][[a]\/\u0041\ud83d\ude00$"}, ['"-[/A😀"'], ['"9b/A😀"', '"zaaa"']),
    ({"type": "string", "pattern": r"^a\x01?[\x02b]$"}, ['"ab"'], ['"a"', '"b"']),
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2023-02-29"', '"2024-02-30"', '"0000-01-01"']),
    ({"type": "string", "minLength": 2, "maxLength": 2}, ['"é日"', '"\\n\\""'], ['"a"', '"abc"']),
    ({"oneOf": [{"properties": {"k": {"const": 1}}}, {"properties": {"k": {"const": 2}}}]}, ['{"k":1}'], ["{}"]),
    ({"type": "object", "properties": {"a": {}}}, ["{}", '{"a":[]}'], ['{"b":1}']),
    ({"format": "entity_id"}, ['"a"', "3", "null", "[{}]"], []),
    ({"uniqueItems": True, "items": {"enum": ["a", 1, [2]]}},
     ["[]", '["a"]', '[[2],"a"]', '[1,"a",[2]]'], ['["a","a"]', "[1,[2],1]", '["b"]', '["a",1,[2],1]']),
    ({"uniqueItems": True, "items": {"enum": [True, 1, "1"]}}, ['[1,"1",true]'], ["[true,1,true]"]),
    ({"uniqueItems": True, "items": {"enum": list("abcdefghij")}},
     ['["j","a","f"]', '["b","d","e","g"]', json.dumps(list("abcdefghij"))], ['["a","b","c","a"]', '["b","b"]']),
    ({"uniqueItems": True, "items": {"enum": list("abcde")}, "minItems": 2, "maxItems": 3},
     ['["e","a"]', '["c","e","a"]'], ["[]", '["a"]', '["a","b","c","d"]', '["a","b","a"]']),
    ({"uniqueItems": True, "items": {"type": "string"}, "maxItems": 3}, ["[]", '["a"]'], ['["a","b"]']),
    ({"uniqueItems": True}, ["[]", "[[1,1]]"], ["[1,2]"]),
    ({"uniqueItems": True, "items": {"enum": ["a", "b"]}, "maxItems": 0}, ["[]"], ['["a"]']),
])  # fmt: skip
def test_what_fits_is_told_exactly(tiny: Kit, schema: JsonObject, fits: list[str], does_not: list[str]) -> None:
    assert [text for text in fits if not tiny.can_write(of_schema(schema), text)] == []
    assert [text for text in does_not if tiny.can_write(of_schema(schema), text)] == []


REFUSED: dict[str, Any] = {
    **{word: {"type": "object", word: {}} for word in (
        "not", "if", "contains", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties",
        "unevaluatedItems", "$dynamicRef")},
    "lenient": {"type": "array", "contains": {}, "x-guidance": {"lenient": True}},
    "several different items": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 2},
    "more different items than there are": {"uniqueItems": True, "items": {"enum": ["zip", 1, 1.0]}, "minItems": 3},
    "one constant written twice": {"uniqueItems": True, "minItems": 2, "items": {
        "anyOf": [{"const": {"zip": 1, "code": 2}}, {"const": {"code": 2, "zip": 1}}]}},
    "constants of two options": {"uniqueItems": True, "items": {"oneOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}},
    "old tuple of different items": {"uniqueItems": True, "items": [{"enum": [1, 2]}, {"enum": [1, 2]}], "minItems": 2},
    "no boolean": {"type": "array", "uniqueItems": "zip"},
    "oneOf beside a foreign format": {"format": "zipcode", "oneOf": [{"properties": {"a": {"type": "null"}}},
                                                                     {"properties": {"a": {"type": "boolean"}}}]},
    "old draft": {"$schema": "http://json-schema.org/draft-04/schema#", "contains": {"type": "null"}},
    "no schema": ["string"],
    "unknown type": {"type": "text"},
    "format that is no text": {"type": "string", "format": {"zip": "code"}},
    **{f"format {name}": {"type": "string", "format": name} for name in (
        "idn-email", "idn-hostname", "iri", "iri-reference", "json-pointer", "regex", "relative-json-pointer",
        "uri-reference", "uri-template")},
    "format with a pattern": {"type": "string", "format": "regex", "pattern": "a"},
    "remote reference": {"$ref": "http://127.0.0.1:1/schema.json"},
    "file reference": {"$ref": "file:///etc/passwd"},
    "reference to nothing": {"$ref": "#/$defs/zipcode"},
    "identified part": {"properties": {"a": {"$id": "http://a/b", "$ref": "#"}}},
    "itself": {"$ref": "#"},
    "requires itself": thing(a={"$ref": "#"}),
    "unfulfillable": {"type": "object", "required": ["a"], "properties": {"a": False}},
    "oneOf overlaps": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    "oneOf unclear": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "lookaround": {"type": "string", "pattern": "^(?!zipcode)"},
    "word boundary": {"type": "string", "pattern": r"\bzipcode"},
    "foreign escape": {"type": "string", "pattern": r"^a\z"},
    "flags": {"type": "string", "pattern": "(?i)zipcode"},
    "hyphens": {"type": "string", "pattern": "^[a-c--b]$"},
    "possessive": {"type": "string", "pattern": "a++"},
    "empty class": {"type": "string", "pattern": "[]a]"},
    "malformed pattern": {"type": "string", "pattern": "zipcode)"},
    "demanded control character": {"type": "string", "pattern": r"^a\x01$"},
    "names and patterns": {"properties": {"a": {}}, "patternProperties": {"a": {}}},
    "control character in a name": {"patternProperties": {r"^a\x01$": {}}},
    "control character": {"const": "zip\x00code"},
    "huge constant": {"const": 2**53 + 1},
    "empty range": {"type": "integer", "minimum": 5, "maximum": 4},
    "no multiple inside": {"type": "integer", "minimum": 8, "maximum": 13, "multipleOf": 7},
    "fine multiple": {"type": "number", "multipleOf": 0.0000001},
    "counted twice": {"type": "object", "additionalProperties": {}, "minProperties": 2},
    "NaN": {"const": float("nan")},
    "infinity": {"type": "number", "maximum": float("inf")},
    "lone surrogate": {"const": "\ud800"},
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_in_our_words(tiny: Kit, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        tiny.constraint(of_schema(REFUSED[name]))
    assert caught.value.param == "response_format"
    assert "zip" not in caught.value.detail
    assert caught.value.detail[0].islower()


def nested(levels: int) -> JsonObject:
    return {"type": "object", "properties": {"a": nested(levels - 1)} if levels else {}}


def chain(count: int, link: Any) -> JsonObject:
    """Definitions of which each links to the next."""
    links = {f"d{number}": link({"$ref": f"#/$defs/d{number + 1}"}) for number in range(count)}
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{count}": {"type": "object"}}}


HOSTILE: dict[str, JsonObject] = {
    "catastrophic pattern": {"type": "string", "pattern": "^(a+)+$"},
    "exponential pattern": {"type": "string", "pattern": "[01]*1[01]{20}$"},
    "repeated pattern": {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
    "long pattern": {"type": "string", "pattern": "(" * 5000 + ")" * 5000},
    "wide pattern": {"type": "string", "pattern": "^" + r"\w*\s*" * 160 + "$"},
    "huge enum": {"enum": [f"value{number}" for number in range(4900)]},
    "too huge enum": {"enum": list(range(5100))},
    "60 levels": nested(60),
    "900 levels": nested(200),
    "deep constant": {"const": json.loads("[" * 900 + "]" * 900)},
    "100,000 properties": {"properties": {f"p{number}": {} for number in range(100_000)}},
    "256 properties": {"properties": {f"p{number}": {"type": "integer"} for number in range(256)}},
    "256 options": {"anyOf": [thing(v={"type": "string", "maxLength": number}) for number in range(256)]},
    "one of 250": {"oneOf": [thing(k={"const": number}) for number in range(250)]},
    "counted properties": {"properties": {f"p{number}": {} for number in range(200)}, "minProperties": 1},
    "pattern names": {"patternProperties": {f"^a{number}x": {} for number in range(500)}},
    "long chain": chain(1000, lambda link: {"properties": {"a": link}}),
    "deep chain": chain(6, lambda link: json.loads('{"items":' * 30 + json.dumps(link) + "}" * 30)),
    "aliases": chain(290, lambda link: link),
    "doubled": chain(250, lambda link: {"anyOf": [link, link]}),
    "doubled by joining": chain(24, lambda link: {"properties": {k: {"type": "object", **link} for k in "ab"}}),
    "shallow at first": {**chain(280, lambda link: {"properties": {"a": link}}), "allOf": [
        {"$ref": f"#/$defs/d{number}"} for number in range(250, 0, -1)]},
    "joined options": {"allOf": [{"anyOf": [{"required": [f"{one}{two}"]} for two in range(60)]} for one in range(4)]},
    "joined recursion": {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {
        name: {"properties": {f"p{number}": {"$ref": f"#/$defs/{name}"} for number in range(60)}} for name in "ab"}},
    "joined enums": {"allOf": [{"enum": [f"v{number}" for number in range(2000)]}] * 2},
    "many lists": {"properties": {f"p{number}": {"uniqueItems": True, "items": {"enum": list("abcdefghi")}}
                                  for number in range(250)}},
    "long lists": {"uniqueItems": True, "items": {"enum": list(range(4900))}, "minItems": 1000},
    "long names of lists": {"uniqueItems": True, "items": {"enum": [f"{number:06000}" for number in range(9)]}},
    "lists in lists": {"uniqueItems": True, "items": {"anyOf": [{"$ref": "#/$defs/a"}] * 250},
                       "$defs": {"a": {"enum": ["a", *range(4000)], "type": "string"}}},
    "large multiple": {"type": "number", "minimum": 0, "maximum": 1e15, "multipleOf": 999_983},
    "many multiples": {"prefixItems": [{"type": "integer", "multipleOf": 1000}] * 60},
    "constant objects": {"enum": [{"k": number, "v": [number]} for number in range(1200)]},
    "long minimum": {"type": "string", "minLength": 10**6},
    "many items": {"type": "array", "minItems": 10**9},
    "huge bound": {"type": "integer", "minimum": -(10**400), "maximum": 10**400},
    "huge number": {"type": "number", "minimum": 10**400},
    "ambiguous": {"$ref": "#/$defs/a", "$defs": {
        "a": {"anyOf": [*({"type": "array", "items": {"$ref": "#/$defs/a"}} for _ in range(100)), {"type": "null"}]}}},
}  # fmt: skip
HANDLED = {
    "catastrophic pattern", "exponential pattern", "repeated pattern", "huge enum", "256 properties", "256 options",
    "one of 250", "huge bound", "ambiguous", "deep chain", "constant objects", "many lists", "long lists",
    "long names of lists",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_are_refused_or_followed_soon(tiny: Kit, name: str) -> None:
    start = time.thread_time()
    is_refused = False
    try:
        for _, tokens in tiny.steps(tiny.constraint(of_schema(HOSTILE[name])), seed=1):
            if len(tokens) > 100:
                break
    except VisionError:
        is_refused = True
    assert time.thread_time() - start < 3, "the worst takes a third of a second here"
    assert is_refused == (name not in HANDLED)


def test_a_schema_that_becomes_too_complicated_is_an_error_and_no_end(tiny: Kit) -> None:
    schema = {"type": "string", "pattern": "^(a?){2000}a{2000}$"}
    with pytest.raises(InvalidParameter, match="too complicated"):
        tiny.answer(of_schema(schema), seed=1)


def test_schemas_of_64_kb_together_are_the_most(tiny: Kit) -> None:
    half = {"type": "object", "description": "x" * 33_000}
    tiny.constraint(of_schema(half))
    with pytest.raises(InvalidToolSchema):
        tiny.constraint(tools("auto", first=half, second=half))


WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"$ref": "#/$defs/days"}},
           "required": ["city"], "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 7}}}  # fmt: skip


def tools(choice: str, parallel: bool = False, **schemas: Any) -> JsonObject:
    listed = [{"name": name, "parameters": schema} for name, schema in (schemas or {"weather": WEATHER}).items()]
    return {"type": "tools", "tools": [*listed, {"name": "stop"}], "choice": choice, "parallel": parallel}


def or_form(form: JsonObject, choice: str = "auto", parallel: bool = True, **schemas: Any) -> JsonObject:
    return {**tools(choice, parallel, **schemas), "otherwise": form}


CALL = '{"name": "weather", "arguments": {"city": "Kyoto", "days": 3}}'
STOP = '{"name": "stop", "arguments": {}}'


@pytest.mark.parametrize("choice", ["required", "weather"])
@pytest.mark.parametrize("parallel", [True, False])
def test_random_answers_call_tools(kit: Kit, choice: str, parallel: bool) -> None:
    called = []
    for seed in range(16):
        calls = tool_calls(kit.answer(tools(choice, parallel), seed))
        assert calls is not None
        for call in calls:
            check(json.dumps(call["arguments"]), WEATHER if call["name"] == "weather" else {"maxProperties": 0})
        called.append([call["name"] for call in calls])
    assert {name for names in called for name in names} == ({"weather"} if choice == "weather" else {"weather", "stop"})
    assert any(len(names) > 1 for names in called) == (parallel and choice == "required")


def test_with_auto_an_answer_is_words_or_calls(kit: Kit) -> None:
    words = 0
    for seed in range(12):
        answer = kit.answer(tools("auto"), seed)
        calls = tool_calls(answer)
        words += calls is None
        assert calls is not None or answer[0] not in "{["
    assert words > 0
    for text in ("I need no tool: {}.", "日本語 🎉", CALL, STOP):
        assert kit.can_write(tools("auto"), text)


@pytest.mark.parametrize(("choice", "parallel", "text", "can"), [
    ("auto", False, "{} is what I say", False),
    ("auto", False, "  {}", False),
    ("auto", False, " Yes", True),
    ("auto", False, f" {CALL}", True),
    ("auto", False, "", False),
    ("auto", True, f"[{CALL}, {STOP}]", True),
    ("auto", False, f"[{CALL}, {STOP}]", False),
    ("required", False, "Yes", False),
    ("required", True, "[]", False),
    ("required", True, f"[{STOP}]", True),
    ("required", True, "[" + ", ".join([STOP] * 16) + "]", True),
    ("required", True, "[" + ", ".join([STOP] * 17) + "]", False),
    ("required", False, '{"name": "other", "arguments": {}}', False),
    ("required", False, '{"name": "weather", "arguments": {}}', False),
    ("required", False, '{"name": "weather", "arguments": {"city": "Kyoto", "days": 8}}', False),
    ("required", False, '{"name": "stop", "arguments": {"a": 1}}', False),
    ("required", False, '{"name": "stop"}', False),
    ("weather", True, CALL, True),
    ("weather", True, STOP, False),
    ("weather", True, f"[{CALL}]", False),
])  # fmt: skip
def test_calls_have_one_form(tiny: Kit, choice: str, parallel: bool, text: str, can: bool) -> None:
    assert tiny.can_write(tools(choice, parallel), text) == can


COUNT = thing(count={"type": "integer", "minimum": 0}, names={"type": "array", "items": {"type": "string"}})


@pytest.mark.parametrize(("schema", "form"), [
    (COUNT, of_schema(COUNT)), ({"type": "object"}, {"type": "json_object"}),
    (SCHEMAS["pattern names"], of_schema(SCHEMAS["pattern names"])), ({"type": "array"}, of_schema({"type": "array"})),
    (Tree.model_json_schema(), of_schema(Tree.model_json_schema())),
])  # fmt: skip
def test_with_auto_and_a_form_an_answer_is_calls_or_of_the_form(kit: Kit, schema: JsonObject, form: JsonObject) -> None:
    told = {"calls": 0, "form": 0}
    for seed in range(many(24, 10)):
        answer = kit.answer(or_form(form), seed)
        calls = tool_calls(answer)
        told["form" if calls is None else "calls"] += 1
        if calls is None:
            check(answer, schema)
        for call in calls or ():
            check(json.dumps(call["arguments"]), WEATHER if call["name"] == "weather" else {"maxProperties": 0})
    assert min(told.values()) > 0, told


@pytest.mark.parametrize(("choice", "form", "text", "can"), [
    ("auto", COUNT, '{"count": 3, "names": []}', True),
    ("auto", COUNT, CALL, True),
    ("auto", COUNT, f"[{CALL}, {STOP}]", True),
    ("auto", COUNT, "Three.", False),
    ("auto", COUNT, '{"count": 3}', False),
    ("required", COUNT, CALL, True),
    ("required", COUNT, '{"count": 3, "names": []}', False),
    ("weather", COUNT, '{"count": 3, "names": []}', False),
    ("auto", {}, '"Three."', True),
    ("auto", {}, '[[], {"a": {"name": "other", "arguments": {}}}]', True),
    ("auto", {}, '{"name": "Bob", "a": {"name": "other", "arguments": {}}}', True),
    ("auto", {}, '{"arguments": {}}', True),
    ("auto", {}, '{"name": "other", "arguments": {}}', False),
    ("auto", {}, '{"arguments": {}, "name": "other"}', False),
    ("auto", {}, '[{"name": "other", "arguments": {}}]', False),
    ("auto", {}, '{"name": "stop", "arguments": {"a": 1}}', False),
    ("auto", {"enum": [json.loads(CALL.replace("3", "9")), {"name": "Bob"}]}, CALL.replace("3", "9"), False),
    ("auto", {"enum": [json.loads(CALL.replace("3", "9")), {"name": "Bob"}]}, '{"name": "Bob"}', True),
    ("auto", {"additionalProperties": {"type": "string"}}, '{"name": "Bob", "arguments": "none"}', True),
    ("auto", {"uniqueItems": True, "items": {"enum": list("abcdefghij")}}, '["b", "a"]', True),
    ("auto", thing(name={}, arguments={}, id={}), '{"name": "stop", "arguments": {}, "id": 1}', True),
])  # fmt: skip
def test_an_answer_of_a_form_never_looks_like_a_call(
    tiny: Kit, choice: str, form: JsonObject, text: str, can: bool
) -> None:
    assert tiny.can_write(or_form(of_schema(form), choice), text) == can


def test_a_form_of_many_references_is_soon_known_to_be_no_call(tiny: Kit) -> None:
    doubled = chain(40, lambda link: {"anyOf": [link, link]})
    doubled["$defs"]["d40"] = {"type": "string"}
    start = time.thread_time()
    assert tiny.can_write(or_form(of_schema(doubled)), '"a"')
    assert time.thread_time() - start < 3


@pytest.mark.parametrize("form", [
    thing(name={"type": "string"}, arguments={"type": "object"}), {"const": json.loads(CALL)}, {"type": "zip"},
    {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"required": ["name", "arguments"]}}},
])  # fmt: skip
def test_a_form_is_refused_where_it_cannot_be_followed_or_only_looks_like_calls(tiny: Kit, form: JsonObject) -> None:
    with pytest.raises(InvalidParameter) as caught:
        tiny.constraint(or_form(of_schema(form)))
    assert caught.value.param == "response_format"
    tiny.constraint(or_form(of_schema(form), "required"))
    with pytest.raises(InvalidToolSchema):
        tiny.constraint(or_form(of_schema(form), weather={"not": {}}))


@pytest.mark.parametrize("schema", [
    True, [], {"type": "string"}, {"type": ["object", "null"]}, {"anyOf": [{"type": "object"}, {"type": "array"}]},
    {"type": "object", "not": {}}, {"$ref": "#/$defs/a"}, {"$ref": "#"},
])  # fmt: skip
def test_parameters_that_are_no_object_or_cannot_be_followed_are_refused(tiny: Kit, schema: Any) -> None:
    with pytest.raises(InvalidToolSchema) as caught:
        tiny.constraint(tools("auto", weather=schema))
    assert (caught.value.param, caught.value.status) == ("tools", 422)


@pytest.mark.parametrize("schema", [
    {}, {"properties": {"a": {}}}, Tree.model_json_schema(), {"$ref": "#/$defs/a", "$defs": {
        "a": {"anyOf": [{"type": "object"}, {"allOf": [{"minProperties": 1}, {"type": "object"}]}]}}},
])  # fmt: skip
def test_parameters_that_are_objects_in_other_words_are_taken(tiny: Kit, schema: Any) -> None:
    calls = tool_calls(tiny.answer(tools("weather", weather=schema), seed=1))
    assert calls is not None
    check(json.dumps(calls[0]["arguments"]), schema)


def test_a_tokenizer_that_cannot_be_read_is_an_ordinary_error() -> None:
    tokenizer = llama_tokenizer()
    tokenizer.add_tokens(["a" * 3000])
    with pytest.raises(ValueError, match="cannot read"):
        Grammars(tokenizer.backend_tokenizer.to_str(), [2], 600)
