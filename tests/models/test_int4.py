"""4-bit weights for the CPU: right numbers in whatever way they are multiplied, copies that are whole or unused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fixtures.counts import some
from fixtures.random_llavas import FAMILIES, IDS, config_of, logits, model_class, written
from llm_vision.models.base import UnusableWeights
from llm_vision.models.loading import hf
from llm_vision.models.loading.int4 import copy as int4_copy
from llm_vision.models.loading.int4 import linear as _int4_linear
from llm_vision.models.loading.int4 import load as int4
from llm_vision.models.loading.int4.linear import (
    GROUP,
    KERNEL_ROWS,
    Int4Linear,
    Scratch,
    Shape,
    quantize,
    split,
    unit_height,
)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return written("llava", tmp_path / "llava")


def loaded(folder: Path, family: str = "llava") -> Any:
    return int4.load(model_class(family), folder)


def random_weight(outputs: int, inputs: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(outputs + inputs)
    return torch.randn(outputs, inputs, generator=generator) * 0.02


def restored(weight: torch.Tensor) -> torch.Tensor:
    """What four bits leave of a weight, computed as the layout is documented."""
    units, scales = quantize(weight)
    scale, zero = scales.float().permute(2, 1, 0).repeat_interleave(GROUP, dim=2)
    return (split(units) - 8) * scale + zero


def steps(weight: torch.Tensor) -> torch.Tensor:
    low, high = weight.unflatten(1, (-1, GROUP)).aminmax(dim=-1)
    return ((high - low) / 15).repeat_interleave(GROUP, dim=1)


def layer_of(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, height: int | None) -> Int4Linear:
    layer = Int4Linear(Shape(weight.shape[1], weight.shape[0], bias is not None), dtype)
    units, scales = quantize(weight)
    layer.weight = nn.Parameter(units, requires_grad=False)
    layer.scales_and_zeros = nn.Parameter(scales, requires_grad=False)
    layer.bias = nn.Parameter(bias.to(dtype), requires_grad=False) if bias is not None else None
    layer.prepare(Scratch(weight.shape[1], height, dtype) if height else None)
    return layer


def test_weights_stay_within_a_step_of_what_they_were() -> None:
    weight = random_weight(128, 384)
    errors = (restored(weight) - weight) / steps(weight)
    assert errors.abs().max() < 1
    assert errors.square().mean().sqrt() < 0.28


def test_fitting_steps_leaves_less_error_than_taking_the_range() -> None:
    weight = random_weight(128, 384)
    low = weight.unflatten(1, (-1, GROUP)).amin(-1).repeat_interleave(GROUP, dim=1)
    plain = ((weight - low) / steps(weight)).round() * steps(weight) + low
    assert (restored(weight) - weight).norm() < 0.96 * (plain - weight).norm()


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-20, 60000.0])
def test_a_group_of_one_value_keeps_it(value: float) -> None:
    assert torch.allclose(restored(torch.full((64, 64), value)), torch.tensor(value), rtol=2**-8)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(value: float) -> None:
    weight = random_weight(64, 64)
    weight[3, 5] = value
    with pytest.raises(ValueError):
        quantize(weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("rows", [1, KERNEL_ROWS, KERNEL_ROWS + 1, 200])
@pytest.mark.parametrize(("outputs", "inputs"), [(64, 32), (448, 96), (192, 256)])
def test_few_and_many_rows_are_multiplied_by_the_same_weights(
    outputs: int, inputs: int, rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_int4_linear, "_BLOCK", 3 * 64 * inputs)  # blocks of three units, so that the last is shorter
    weight, bias, hidden = random_weight(outputs, inputs), torch.linspace(-1, 1, outputs), torch.randn(1, rows, inputs)
    right = nn.functional.linear(hidden.to(torch.bfloat16).float(), restored(weight), bias)
    found = layer_of(weight, bias, dtype, unit_height())(hidden.to(dtype))
    assert found.dtype == dtype
    assert found.shape == (1, rows, outputs)
    assert (found.float() - right).abs().max() < 0.01 * right.abs().max()


_LOAD = """
import os, pathlib, signal, sys, torch
from fixtures.random_llavas import IDS, logits, model_class
from llm_vision.models.loading.int4 import copy as int4_copy
from llm_vision.models.loading.int4 import load as int4
"""


def run_python(script: str, *arguments: Path, **environment: str) -> int:
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-c", _LOAD + script, *map(str, arguments)]
    return subprocess.run(command, check=False, env=variables).returncode


def test_every_way_of_packing_gives_the_same(checkpoint: Path, tmp_path: Path) -> None:
    script = "model = int4.load(model_class('llava'), pathlib.Path(sys.argv[1]))\n"
    script += "torch.save([logits(model, IDS), logits(model, IDS[:, :3])], sys.argv[2])"
    ours = [logits(loaded(checkpoint), IDS), logits(loaded(checkpoint), IDS[:, :3])]
    for capability in some(("avx2", "default"), 1):
        out = tmp_path / capability
        assert run_python(script, checkpoint, out, ATEN_CPU_CAPABILITY=capability) == 0
        for found, same in zip(torch.load(out), ours, strict=True):
            assert (found - same).norm() < 0.02 * same.norm()


@pytest.mark.parametrize("original", [True, False], ids=["names as published", "names of Transformers 5"])
def test_every_family_loads_and_answers_nearly_as_in_bf16(family: str, original: bool, tmp_path: Path) -> None:
    folder = written(family, tmp_path, original_names=original)
    plain = hf.load_weights(model_class(family), folder, may_be_pickled=False, dtype=torch.bfloat16)
    model = loaded(folder, family)
    assert any(isinstance(module, Int4Linear) for module in model.model.language_model.modules())
    assert all(isinstance(module, nn.Linear) for module in (model.lm_head, model.model.multi_modal_projector.linear_1))
    assert not any(isinstance(module, Int4Linear) for module in model.model.vision_tower.modules())
    exact = logits(plain, IDS)
    assert (logits(model, IDS) - exact).norm() < 0.2 * exact.norm()
    answer = model.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=4, do_sample=False)
    assert answer.shape == (1, IDS.shape[1] + 4)


def test_nothing_is_left_without_numbers(family: str, tmp_path: Path) -> None:
    folder = written(family, tmp_path)
    plain = hf.load_weights(model_class(family), folder, may_be_pickled=False, dtype=torch.bfloat16)
    buffers = dict(plain.named_buffers())
    for model in (loaded(folder, family), loaded(folder, family)):
        assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
        assert buffers.keys() == dict(model.named_buffers()).keys()
        assert all(torch.equal(buffers[name], buffer) for name, buffer in model.named_buffers())


def test_a_head_that_shares_the_embeddings_still_does(tmp_path: Path) -> None:
    folder = written("llava_onevision", tmp_path)
    for model in (loaded(folder, "llava_onevision"), loaded(folder, "llava_onevision")):
        assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def test_layers_of_other_sizes_stay_as_they_are(tmp_path: Path) -> None:
    config = config_of("llava")
    config.text_config.intermediate_size = 100
    folder = written("llava", tmp_path, config=config)
    mlp = loaded(folder).model.language_model.layers[0].mlp
    assert isinstance(mlp.gate_proj, nn.Linear)
    assert isinstance(mlp.down_proj, nn.Linear)


def test_the_copy_answers_exactly_as_the_first_load(family: str, tmp_path: Path) -> None:
    folder = written(family, tmp_path)
    first = logits(loaded(folder, family), IDS)
    made = (folder / ".int4").stat()
    assert torch.equal(logits(loaded(folder, family), IDS), first)
    assert (folder / ".int4").stat().st_ino == made.st_ino
    assert sorted(path.name for path in folder.glob(".int4*")) == [".int4"]


def test_the_copy_is_read_and_not_the_source(checkpoint: Path) -> None:
    first = logits(loaded(checkpoint), IDS)
    source = checkpoint / "model.safetensors"
    state, size = source.stat(), source.stat().st_size
    source.write_bytes(bytes(size))
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert torch.equal(logits(loaded(checkpoint), IDS), first)


def test_the_copy_is_smaller_and_a_checkpoint_of_its_own(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "tokenizer.json").write_text("{}")
    first = logits(loaded(checkpoint), IDS)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(checkpoint / ".int4", elsewhere)
    assert (elsewhere / "tokenizer.json").read_text() == "{}"
    assert torch.equal(logits(loaded(elsewhere), IDS), first)
    assert not (elsewhere / ".int4").exists()
    assert (elsewhere / "model.safetensors").stat().st_size < (checkpoint / "model.safetensors").stat().st_size


def test_a_changed_checkpoint_gets_another_copy(checkpoint: Path, tmp_path: Path) -> None:
    before = logits(loaded(checkpoint), IDS)
    other = written("llava", tmp_path / "other", seed=2)
    shutil.copy(other / "model.safetensors", checkpoint)
    after = logits(loaded(checkpoint), IDS)
    assert not torch.equal(after, before)
    assert torch.equal(after, logits(loaded(other), IDS))
    assert torch.equal(after, logits(loaded(checkpoint), IDS))


def test_a_copy_that_was_killed_halfway_is_never_used(checkpoint: Path) -> None:
    script = "int4_copy._write_besides = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    script += "int4.load(model_class('llava'), pathlib.Path(sys.argv[1]))"
    assert run_python(script, checkpoint) == -signal.SIGKILL
    (left,) = checkpoint.glob(".int4*")
    assert (left / "model.safetensors").exists()
    loaded(checkpoint)
    assert [path.name for path in checkpoint.glob(".int4*")] == [".int4"]


def test_a_damaged_copy_is_made_anew(checkpoint: Path) -> None:
    first = logits(loaded(checkpoint), IDS)
    shard = checkpoint / ".int4" / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    assert torch.equal(logits(loaded(checkpoint), IDS), first)
    assert torch.equal(logits(loaded(checkpoint / ".int4"), IDS), first)


@pytest.mark.parametrize("name", ["mkdtemp", "disk_usage"])
def test_a_volume_that_takes_no_copy_is_no_reason_to_fail(
    name: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: Any) -> str:
        raise OSError(30, "Read-only file system")

    full = shutil._ntuple_diskusage(100, 100, 0)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(int4_copy.tempfile, "mkdtemp", read_only) if name == "mkdtemp" else None
        patch.setattr(int4_copy.shutil, "disk_usage", lambda _: full) if name == "disk_usage" else None
        found = logits(loaded(checkpoint), IDS)
    assert not list(checkpoint.glob(".int4*"))
    assert torch.equal(logits(loaded(checkpoint), IDS), found)


def with_tensors(folder: Path, change: Any) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


PROJECTION = "language_model.model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop(PROJECTION),
        lambda tensors: tensors.pop("vision_tower.vision_model.post_layernorm.weight"),
        lambda tensors: tensors.update(stranger=torch.zeros(2)),
        lambda tensors: tensors.update({PROJECTION: torch.zeros(64, 64)}),
        lambda tensors: tensors.update({PROJECTION: tensors[PROJECTION].T.contiguous()}),
        lambda tensors: tensors[PROJECTION].fill_(float("nan")),
    ],
    ids=["missing", "missing in the tower", "left over", "of another size", "turned", "no numbers"],
)
def test_wrong_weights_are_refused_and_not_kept(change: Any, checkpoint: Path) -> None:
    with_tensors(checkpoint, change)
    with pytest.raises(UnusableWeights):
        loaded(checkpoint)
    assert not list(checkpoint.glob(".int4*"))


@pytest.mark.parametrize("damage", ["no weights", "cut off", "bad index", "missing shard", "quantised", "code"])
def test_damaged_folders_are_refused(damage: str, checkpoint: Path) -> None:
    weights, index = checkpoint / "model.safetensors", checkpoint / "model.safetensors.index.json"
    config = json.loads((checkpoint / "config.json").read_text())
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "bad index":
        index.write_text("[]")
    elif damage == "missing shard":
        index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    else:
        more = {"quantised": {"quantization_config": {"quant_method": "gptq"}}, "code": {"auto_map": {}}}[damage]
        (checkpoint / "config.json").write_text(json.dumps(config | more))
    with pytest.raises(UnusableWeights):
        loaded(checkpoint)
