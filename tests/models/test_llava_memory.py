"""Promise 13 on the real model: memory that runs out in the middle of an answer changes no answer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fixtures.chats import ask
from fixtures.counts import some
from fixtures.float_llava import load_float_llava
from fixtures.shapes import held_out
from fixtures.stepped import served, streamed
from fixtures.tiny_models import LLAVA, LLAVA_ID
from llm_vision.errors.memory import is_out_of_memory
from llm_vision.models.decoding.language_model import LanguageModel
from llm_vision.models.families.vlm.llava import Llava

ASKED = list(held_out(6, seed=31, kind="description"))

UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from fixtures.chats import ask
from fixtures.shapes import held_out
from fixtures.stepped import served
from llm_vision.models.base import LoadContext
from llm_vision.models.families.vlm.llava import Llava

model = Llava()
model.load(LoadContext("cpu", 1, Path(sys.argv[1]), model_id=sys.argv[2]))
(scene, question), = held_out(1, seed=31, kind="count")
small = ask(scene.draw(), question.prompt)
assert served(model, [small])[0]["result"]["text"] == question.answer
large = ask(scene.draw(), "ab " * 1900)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1024 * 1024, resource.RLIM_INFINITY))
(failed,) = served(model, [large])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert failed.get("error") == "insufficient_memory", failed
assert served(model, [small])[0]["result"]["text"] == question.answer
print("survived")
"""


@pytest.fixture(scope="module")
def model() -> Llava:
    return load_float_llava()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let memory run out in some steps: those whose number `fails` says, of rows that are more than `most`."""
    import torch

    plain = LanguageModel.step
    when: dict[str, Any] = {"number": 0, "fails": lambda number, rows: False}

    def step(self: LanguageModel, tokens: Any, *inputs: Any) -> Any:
        when["number"] += 1
        if when["fails"](when["number"], len(tokens)):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, tokens, *inputs)

    monkeypatch.setattr(LanguageModel, "step", step)
    return lambda fails: when.update(number=0, fails=fails)


def items() -> list[Any]:
    return [ask(scene.draw(), question.prompt) for scene, question in ASKED]


def texts(model: Llava, asked: list[Any]) -> list[str]:
    return [end["result"]["text"] for end in served(model, asked)]


@pytest.mark.parametrize("step", some(range(1, 9), 3))
@pytest.mark.parametrize("count", [1, 6])
def test_memory_that_runs_out_at_any_step_changes_no_answer(model: Llava, short: Any, step: int, count: int) -> None:
    wanted = texts(model, items()[:count])
    short(lambda number, rows: number == step)
    assert texts(model, items()[:count]) == wanted


@pytest.mark.parametrize("most", some([2, 1, 4], 1))
def test_where_memory_is_for_a_few_the_others_wait_and_nothing_is_told_twice(
    model: Llava, short: Any, most: int
) -> None:
    wanted = texts(model, items())
    short(lambda number, rows: rows > most)
    assert texts(model, items()) == wanted
    assert streamed(model, items()) == wanted


def test_what_does_not_fit_even_alone_fails_and_the_others_do_not(model: Llava, short: Any) -> None:
    wanted = texts(model, items())
    alone: list[int] = []

    def fails(number: int, rows: int) -> bool:
        """Whatever is tried from the third step on, until one that is alone has failed."""
        is_short = number >= 3 and not alone
        if is_short and rows == 1:
            alone.append(number)
        return is_short

    short(fails)
    ends = served(model, items())
    assert [end.get("error") for end in ends].count("insufficient_memory") == 1
    told = [(end["result"]["text"], text) for end, text in zip(ends, wanted, strict=True) if "result" in end]
    assert all(found == text for found, text in told)
    short(lambda number, rows: False)
    assert texts(model, items()) == wanted


def test_an_answer_that_is_whole_is_told_although_the_next_prompt_does_not_fit(
    model: Llava, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    wanted = texts(model, items()[:2])
    model.let_go()
    plain, reads = LanguageModel.read, {"left": 2}

    def read(self: LanguageModel, *inputs: Any) -> Any:
        reads["left"] -= 1
        if reads["left"] < 0 and model._decoding._ended:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, *inputs)

    monkeypatch.setattr(LanguageModel, "read", read)
    short = [ask(scene.draw(), question.prompt, max_tokens=2) for scene, question in ASKED[:4]]
    ends = served(model, short)
    assert all("result" in end or end["error"] == "insufficient_memory" for end in ends)
    assert [end["id"] for end in ends] == [0, 1, 2, 3]
    monkeypatch.undo()
    assert texts(model, items()[:2]) == wanted


def test_torch_s_own_errors_are_known() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as failure:
        torch.empty(1 << 60)
    assert is_out_of_memory(failure.value)
    assert not is_out_of_memory(RuntimeError("another"))


def test_the_real_allocator_under_a_limit_of_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(LLAVA), LLAVA_ID], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("survived"), done.stderr[-2000:]
