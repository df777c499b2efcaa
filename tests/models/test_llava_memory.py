"""Promise 13 on the real model: memory that runs out in the middle of an answer changes no answer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fixtures.chats import ask
from fixtures.number_format import number_format
from fixtures.shapes import held_out
from fixtures.tiny_models import LLAVA, LLAVA_ID
from llm_vision.models._decoding.loop import LanguageModel
from llm_vision.models.base import LoadContext
from llm_vision.models.llava import Llava
from llm_vision.runtime.child import _is_out_of_memory, predict

ASKED = list(held_out(6, seed=31, kind="description"))

UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from fixtures.chats import ask
from fixtures.shapes import held_out
from llm_vision.models.base import LoadContext
from llm_vision.models.llava import Llava
from llm_vision.runtime.child import _code_of, predict

model = Llava()
model.load(LoadContext("cpu", 1, Path(sys.argv[1]), model_id=sys.argv[2]))
(scene, question), = held_out(1, seed=31, kind="count")
small = ask(scene.draw(), question.prompt)
assert predict(model, [small])[0]["text"] == question.answer
large = ask(scene.draw(), "ab " * 1900)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1024 * 1024, resource.RLIM_INFINITY))
(failed,) = predict(model, [large])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert isinstance(failed, Exception), failed
assert _code_of(failed) == "insufficient_memory", repr(failed)
assert predict(model, [small])[0]["text"] == question.answer
print("survived")
"""


@pytest.fixture(scope="module")
def model() -> Llava:

    made = Llava()
    with number_format("float32"):
        made.load(LoadContext("cpu", 2, LLAVA, model_id=LLAVA_ID))
    return made


@pytest.fixture
def failing_step(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a step of the decoding run out of memory, once."""
    import torch

    plain, steps = LanguageModel.step, {"left": -1}

    def step(self: LanguageModel, *inputs: Any) -> Any:
        steps["left"] -= 1
        if steps["left"] == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, *inputs)

    monkeypatch.setattr(LanguageModel, "step", step)
    return lambda number: steps.update(left=number)


def items() -> list[Any]:
    return [ask(scene.draw(), question.prompt) for scene, question in ASKED]


@pytest.mark.parametrize("step", range(1, 9))
@pytest.mark.parametrize("count", [1, 6])
def test_memory_that_runs_out_at_any_step_changes_no_answer(
    model: Llava, failing_step: Any, step: int, count: int
) -> None:
    wanted = [result["text"] for result in model.predict(items()[:count]) if isinstance(result, dict)]
    failing_step(step)
    found = predict(model, items()[:count])  # type: ignore[arg-type]
    assert [result["text"] for result in found if isinstance(result, dict)] == wanted


def test_torch_s_own_errors_are_known() -> None:
    import torch

    assert _is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as failure:
        torch.empty(1 << 60)
    assert _is_out_of_memory(failure.value)
    assert not _is_out_of_memory(RuntimeError("another"))


def test_the_real_allocator_under_a_limit_of_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(LLAVA), LLAVA_ID], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("survived"), done.stderr[-2000:]
