"""In which ways a model can run, on which hardware, and what is said when it is not the best one."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.faulty_base import a_spec
from llm_vision.models.base import ModelSpec, Quantization, Task
from llm_vision.runtime.placement.device import Gpu
from llm_vision.runtime.placement.placements import DevicePolicy, Placement, Placements, plan_placements

GB = 10**9
LARGE = 14 * GB


def spec(**changes: Any) -> ModelSpec:
    usual = {"devices": frozenset({"cpu", "cuda"}), "quantizable": frozenset({"cpu", "cuda"}), "working_bytes": GB}
    return a_spec("vlm", "Large", tasks=frozenset({Task.CHAT}), languages=None, **{**usual, **changes})


def gpu(free: float, index: int = 0) -> Gpu:
    return Gpu(index, int(free * GB), int(24 * GB))


def names(planned: Placements) -> list[str]:
    return [f"{way.device} {way.quantization}" for way in planned.best_first]


def test_without_a_gpu_a_large_model_runs_in_4_bits_and_a_small_one_as_it_is() -> None:
    assert names(plan_placements(spec(), DevicePolicy(), (), LARGE)) == ["cpu 4bit"]
    assert names(plan_placements(spec(), DevicePolicy(), (), 2 * GB)) == ["cpu none", "cpu 4bit"]
    assert plan_placements(spec(), DevicePolicy(), (), LARGE).notice is None


def test_with_a_gpu_the_cpu_is_the_last_way() -> None:
    assert names(plan_placements(spec(), DevicePolicy(), [gpu(24)], LARGE)) == [
        "cuda:0 none",
        "cuda:0 4bit",
        "cpu 4bit",
    ]


def test_what_the_gpu_has_no_memory_for_is_not_tried_and_the_numbers_are_told() -> None:
    planned = plan_placements(spec(), DevicePolicy(), [gpu(9)], LARGE)
    assert names(planned) == ["cuda:0 4bit", "cpu 4bit"]
    assert planned.notice == "cuda:0 has 9.0 GB of free memory, 15.0 are needed on cuda:0"
    assert names(plan_placements(spec(), DevicePolicy(), [gpu(2)], LARGE)) == ["cpu 4bit"]


def test_the_gpu_with_most_free_memory_is_taken_unless_one_is_named() -> None:
    gpus = [gpu(3), gpu(20, 1)]
    assert names(plan_placements(spec(), DevicePolicy("cuda"), gpus, LARGE))[0] == "cuda:1 none"
    assert names(plan_placements(spec(), DevicePolicy("cuda:0"), gpus, 2 * GB))[0] == "cuda:0 none"


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_gpu_that_is_not_there_means_the_cpu_and_a_notice(device: str) -> None:
    gpus = [gpu(20)] if device == "cuda:3" else []
    planned = plan_placements(spec(), DevicePolicy(device), gpus, LARGE)
    assert names(planned) == ["cpu 4bit"]
    assert planned.notice == "the requested GPU was not found"
    refused = plan_placements(spec(), DevicePolicy(device, cpu_fallback=False), gpus, LARGE)
    assert (refused.best_first, refused.reason_against(0)) == ((), "the requested GPU was not found")


def test_without_fallback_a_gpu_that_is_too_small_is_an_error_and_not_the_cpu() -> None:
    assert plan_placements(spec(), DevicePolicy("cuda", cpu_fallback=False), [gpu(1)], LARGE).best_first == ()
    assert names(plan_placements(spec(), DevicePolicy("cuda", cpu_fallback=False), [gpu(24)], LARGE)) == [
        "cuda:0 none",
        "cuda:0 4bit",
    ]


@pytest.mark.parametrize(
    ("setting", "on_gpu", "on_cpu"),
    [("none", "none", ["cpu none"]), ("8bit", "8bit", ["cpu none", "cpu 4bit"]), ("4bit", "4bit", ["cpu 4bit"])],
)
def test_bits_that_are_asked_for(setting: Any, on_gpu: str, on_cpu: list[str]) -> None:
    planned = plan_placements(spec(), DevicePolicy(quantization=setting), [gpu(24)], LARGE)
    assert names(planned) == [f"cuda:0 {on_gpu}", *on_cpu]


def test_the_cpu_alone_when_it_is_asked_for() -> None:
    assert names(plan_placements(spec(), DevicePolicy("cpu"), [gpu(24)], LARGE)) == ["cpu 4bit"]


def test_a_model_that_cannot_be_quantised_needs_what_its_spec_says() -> None:
    small = spec(quantizable=frozenset(), memory_bytes=3 * GB)
    (way,) = plan_placements(small, DevicePolicy(), (), 0).best_first
    assert (way.device, way.quantization, way.memory_bytes) == ("cpu", Quantization.NONE, 3 * GB)


def test_a_way_that_is_too_large_for_the_memory_is_left_out_with_the_numbers() -> None:
    planned = plan_placements(spec(), DevicePolicy(), (), 3 * GB).within(3 * GB)
    assert names(planned) == ["cpu 4bit"]
    assert planned.notice == "4.0 GB of memory are needed on the CPU, so the model runs on the CPU in 4 bits"
    assert planned.within(GB).best_first == ()


def test_four_bits_need_less_than_half() -> None:
    ways = {
        way.quantization: way.memory_bytes for way in plan_placements(spec(), DevicePolicy(), (), 3 * GB).best_first
    }
    assert ways[Quantization.FOUR] - GB <= 0.45 * (ways[Quantization.NONE] - GB)


def test_ways_say_what_they_are() -> None:
    assert Placement("cpu").words == "on the CPU"
    assert Placement("cuda:1", Quantization.EIGHT).words == "on cuda:1 in 8 bits"
