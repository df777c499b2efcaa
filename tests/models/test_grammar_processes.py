"""Each answer's grammar has a process with limits: what it costs ends that answer alone, and nobody waits for it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from tokenizers import Tokenizer

from fixtures.counts import many, some
from fixtures.llama_tokenizer import llama_tokenizer
from fixtures.nasty_schemas import NASTY, Schema, intersections
from fixtures.processes import grammar_servers
from fixtures.sound_schemas import thing
from fixtures.tiny_models import LLAVA
from fixtures.waiting import PATIENCE, eventually, is_alive, is_gone
from llm_vision.errors import InferenceFailed, InsufficientMemory, InvalidParameter, InvalidToolSchema, VisionError
from llm_vision.models.grammar.constraints import Constraint, Constraints
from llm_vision.models.grammar.messages import USUAL_LIMITS, GrammarLimits
from llm_vision.models.grammar.schemas import SchemaWriter, UnusableSchema
from llm_vision.models.grammar.schemas.joined import count_places
from llm_vision.models.tasks.chat import response_format_from_json

ONE_OF_FEW = {"enum": ["red", "green", "blue"]}
MEBIBYTE = 1024 * 1024


class Kit:
    """Constraints of the tiny LLaVA's tokenizer, and what is known of their processes."""

    def __init__(self, limits: GrammarLimits = USUAL_LIMITS) -> None:
        self.backend = Tokenizer.from_file(str(LLAVA / "tokenizer.json"))
        self.size = self.backend.get_vocab_size()
        tokenizer = SimpleNamespace(backend_tokenizer=self.backend)
        self.constraints = Constraints(tokenizer, frozenset({0}), self.size, limits)

    def of(self, schema: Schema) -> Constraint:
        return self.constraint({"type": "json_schema", "schema": schema})

    def constraint(self, wanted: dict[str, Any]) -> Constraint:
        response_format = response_format_from_json(wanted)
        assert response_format
        return self.constraints.constraint(response_format)

    def tool(self, schema: Schema) -> Constraint:
        tools = [{"name": "a", "parameters": thing(b=schema)}]
        return self.constraint({"type": "tools", "tools": tools, "choice": "required"})

    @property
    def server(self) -> psutil.Process:
        return max(grammar_servers(), key=lambda process: process.create_time())

    @property
    def forks(self) -> set[psutil.Process]:
        return {fork for fork in self.server.children() if is_alive(fork)}

    def close(self) -> None:
        before = self.server
        self.constraints.close()
        eventually(lambda: is_gone(before))

    def walk(self, constraint: Constraint, steps: int) -> str:
        """What is written by choosing among the allowed tokens at random; why it ends early, as an exception."""
        chance, tokens = random.Random(1), []
        while len(tokens) < steps:
            assert constraint.is_ready(PATIENCE)
            if constraint.failure:
                raise constraint.failure
            allowed = self.allowed(constraint)
            if allowed == [0]:
                break
            tokens.append(chance.choice([token for token in allowed if token]))
            constraint.take(tokens[-1])
        return str(self.backend.decode(tokens)).strip()

    def allowed(self, constraint: Constraint) -> list[int]:
        assert constraint.mask
        return [token for token in range(self.size) if constraint.mask[token // 8] >> token % 8 & 1]


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    made = Kit()
    assert made.of(ONE_OF_FEW).is_ready(PATIENCE)
    yield made
    made.close()


@pytest.fixture
def own() -> Iterator[Kit]:
    """One that is closed behind the test."""
    made = Kit()
    yield made
    made.close()


def test_nothing_runs_until_a_constraint_is_asked_for_and_then_it_is_light(own: Kit) -> None:
    before = len(grammar_servers())
    assert own.walk(own.of(ONE_OF_FEW), 90) in {'"red"', '"green"', '"blue"'}
    assert len(grammar_servers()) == before + 1
    libraries = Path(f"/proc/{own.server.pid}/maps").read_text()
    assert "torch" not in libraries
    assert "numpy" not in libraries
    assert all(process.memory_info().rss < 64 * MEBIBYTE for process in (own.server, *own.forks))


@pytest.mark.parametrize("name", some(NASTY, 16))
def test_a_nasty_schema_is_refused_or_followed_and_costs_nobody_else(kit: Kit, name: str) -> None:
    neighbour = kit.of({"type": "string", "maxLength": 900})
    assert neighbour.is_ready(PATIENCE)
    before = kit.server
    nasty = kit.of(NASTY[name])
    check_outcome(kit, nasty)
    nasty.close()
    assert len(kit.walk(neighbour, 60)) > 1
    neighbour.close()
    assert kit.server == before


def check_outcome(kit: Kit, constraint: Constraint, steps: int = 40) -> None:
    """It is followed, or refused in our words; a limit that is reached is a refusal, too."""
    try:
        kit.walk(constraint, steps)
    except VisionError as error:
        assert (error.code, error.param) == ("invalid_parameter", "response_format")  # noqa: PT017
        assert error.detail[0].islower()  # noqa: PT017


@pytest.mark.parametrize("first", range(0, many(2000, 60), 20))
def test_intersections_are_refused_or_followed(kit: Kit, first: int) -> None:
    for schema in intersections(20, first):
        constraint = kit.of(schema)
        check_outcome(kit, constraint, 12)
        constraint.close()


def test_22_joined_patterns_are_refused_before_they_cost_anything() -> None:
    for name in ("22 lengths of letters", "12 ends of letters", "joined by references", "names of patterns"):
        writer = SchemaWriter()
        with pytest.raises(UnusableSchema, match="joins too many patterns"):
            writer.document(writer.add(thing(a=NASTY[name]) if "$ref" not in str(NASTY[name]) else NASTY[name]))


@pytest.mark.parametrize(("pattern", "all_places", "behind"), [
    (r"\p{L}{100}", 100, 0), ("^[a-z]{1,100}$", 100, 0), (r"^[A-Z]{2}\d{4}$", 6, 0), ("^a?b{3}", 4, 3),
    (r"^(?:ab|c[)\]]){3}\x{41}$", 13, 11), ("((a{1000}){1000}){1000}", 10**9, 0), (")(", 0, 0), ("{3}", 0, 0),
])  # fmt: skip
def test_places_of_patterns_are_counted(pattern: str, all_places: int, behind: int) -> None:
    assert count_places(pattern) == (all_places, behind)


def test_memory_that_runs_out_ends_its_answer_alone() -> None:
    kit = Kit(GrammarLimits(memory_bytes=8 * MEBIBYTE))
    neighbour, large = kit.of({"type": "string"}), NASTY["1,000 optional"]
    assert neighbour.is_ready(PATIENCE)
    for constraint, refused in ((kit.of(large), InvalidParameter), (kit.tool(large), InvalidToolSchema)):
        with pytest.raises(refused, match="too much time or memory"):
            kit.walk(constraint, 1)
    assert kit.walk(neighbour, 5)
    kit.close()


def test_cpu_time_that_runs_out_ends_its_answer_alone_and_a_longer_answer_has_more(own: Kit) -> None:
    neighbour = own.of({"type": "string"})
    first = eventually(lambda: own.forks)
    assert neighbour.is_ready(PATIENCE)
    (fork,) = eventually(lambda: own.forks - first)  # it waits for the next schema
    long = own.of({"type": "array", "items": {"type": "integer"}, "minItems": 1000})
    assert long.is_ready(PATIENCE)
    assert cpu_limit(fork) == USUAL_LIMITS.cpu_seconds
    with pytest.raises(InvalidParameter, match="too much time or memory"):
        take_and_end(own, long, fork)
    assert own.walk(neighbour, 5)


def take_and_end(kit: Kit, constraint: Constraint, fork: psutil.Process) -> None:
    kit.walk(constraint, USUAL_LIMITS.tokens_a_second + 1)
    assert cpu_limit(fork) == USUAL_LIMITS.cpu_seconds + 1
    fork.send_signal(signal.SIGXCPU)  # as the kernel does
    kit.walk(constraint, 9)


def cpu_limit(fork: psutil.Process) -> int:
    lines = Path(f"/proc/{fork.pid}/limits").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Max cpu time")).split()[3])


def test_who_leaves_ends_the_process_whatever_it_does(own: Kit) -> None:
    own.walk(own.of(ONE_OF_FEW), 90)
    eventually(lambda: len(own.forks) == 1)  # the one that waits for the next schema
    leaving = own.of(thing(**{f"p{n}": {"enum": [f"v{m}" for m in range(24)]} for n in range(200)}))
    (working,) = own.forks
    leaving.close()
    eventually(lambda: not is_alive(working))


def test_a_process_that_the_system_kills_is_no_fault_of_the_schema(own: Kit) -> None:
    constraint = own.of({"type": "string"})
    assert constraint.is_ready(PATIENCE)
    eventually(lambda: len(own.forks) >= 2)
    for fork in own.forks:
        fork.kill()
    constraint.take(own.allowed(constraint)[-1])
    with pytest.raises(InsufficientMemory):
        own.walk(constraint, 9)
    eventually(lambda: own.constraints._spare and own.constraints._spare.poll())
    assert own.walk(own.of(ONE_OF_FEW), 90), "one that was killed while it waited is not asked"


def test_a_server_that_is_killed_is_started_again(own: Kit) -> None:
    constraint = own.of({"type": "string"})
    assert constraint.is_ready(PATIENCE)
    killed = own.server
    killed.kill()
    constraint.take(own.allowed(constraint)[-1])
    with pytest.raises(InsufficientMemory):
        own.walk(constraint, 9)
    assert own.walk(own.of(ONE_OF_FEW), 90)
    eventually(lambda: is_gone(killed))


def test_its_processes_end_with_the_model() -> None:
    model = subprocess.Popen([sys.executable, "-c", LONELY], stdout=subprocess.PIPE, text=True)
    assert model.stdout
    pids = [int(pid) for pid in model.stdout.readline().split()]
    assert len(pids) > 2
    processes = [psutil.Process(pid) for pid in pids]
    os.kill(model.pid, signal.SIGKILL)
    model.wait()
    eventually(lambda: not any(map(is_alive, processes)))


def test_a_tokenizer_that_cannot_be_read_fails_its_requests() -> None:
    tokenizer = llama_tokenizer()
    tokenizer.add_tokens(["a" * 3000])
    constraints, before = Constraints(tokenizer, frozenset({2}), 600), set(grammar_servers())
    response_format = response_format_from_json({"type": "json_object"})
    assert response_format
    constraint = constraints.constraint(response_format)
    assert constraint.is_ready(PATIENCE)
    assert isinstance(constraint.failure, InferenceFailed)
    (started,) = set(grammar_servers()) - before
    constraints.close()
    eventually(lambda: is_gone(started))


@pytest.mark.parametrize("size", [80_000, 17_000_000])
def test_schemas_that_are_far_too_large_are_not_even_sent(kit: Kit, size: int) -> None:
    large = {"const": "x" * size}
    for ask, refused in ((kit.of, InvalidParameter), (kit.tool, InvalidToolSchema)):
        with pytest.raises(refused, match="65536"):
            kit.walk(ask(large), 1)


def test_a_request_of_the_greatest_size_is_sent_while_nobody_reads(own: Kit) -> None:
    schema = {"description": "x" * 65_000, **ONE_OF_FEW}
    assert own.walk(own.of(schema), 90)


COMMON = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from models.test_grammar_processes import *
kit = Kit()
"""
LONELY = f"""{COMMON}
constraint = kit.of(ONE_OF_FEW)
assert constraint.is_ready(60)
eventually(lambda: len(kit.forks) == 2)
print(kit.server.pid, *(fork.pid for fork in kit.forks), flush=True)
signal.pause()
"""
