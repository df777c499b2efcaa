"""What lies in a folder of weights is regular files of sane sizes with sane numbers, or the load is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.tiny_models import BLIP, LLAVA, LLAVA_NEXT, MANGA_OCR, copied
from llm_vision.models.base import UnusableWeights, Volume, Weights
from llm_vision.runtime.weights.files import check_files
from llm_vision.runtime.weights.numbers import check_numbers
from llm_vision.runtime.weights.proof import proven
from llm_vision.runtime.weights.store import WeightStore
from llm_vision.services.model_care.files import read_context_length

Replace = Callable[[Path], None]
GIBIBYTE = 1024**3


def link_to(target: str) -> Replace:
    def replace(file: Path) -> None:
        file.symlink_to(target)

    return replace


def sparse(size: int) -> Replace:
    def replace(file: Path) -> None:
        file.touch()
        os.truncate(file, size)

    return replace


STRANGE: dict[str, tuple[Replace, str]] = {
    "a device without end": (link_to("/dev/zero"), "is a device or a pipe"),
    "a terminal": (link_to("/dev/ptmx"), "is a device or a pipe"),
    "a pipe": (os.mkfifo, "is a device or a pipe"),
    "a link to a pipe": (lambda file: (os.mkfifo(file.with_name("pipe")), file.symlink_to("pipe"))[1], "is a device"),
    "a link to nothing": (link_to("gone"), "cannot be read"),
    "a link to itself": (lambda file: file.symlink_to(file.name), "cannot be read"),
    "a gibibyte of nothing": (sparse(GIBIBYTE), "MiB; it may have"),
}
NAMES = ("config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.jinja", "vocab.txt", "x.json")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", STRANGE)
def test_what_is_no_file_is_refused_before_a_library_reads_it(tmp_path: Path, case: str, name: str) -> None:
    replace, reason = STRANGE[case]
    copied(MANGA_OCR, tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    replace(tmp_path / name)
    with pytest.raises(UnusableWeights, match=reason), proven(tmp_path, may_repair=False):
        pytest.fail("it was loaded")


@pytest.mark.parametrize("inner", ["additional_chat_templates/a.jinja", ".int4/config.json"])
def test_folders_in_which_libraries_read_are_looked_at(tmp_path: Path, inner: str) -> None:
    (tmp_path / inner).parent.mkdir()
    os.mkfifo(tmp_path / inner)
    with pytest.raises(UnusableWeights, match="is a device or a pipe"):
        check_files(tmp_path)


@pytest.mark.parametrize("name", ["../pipe", "/dev/zero", "a/b.safetensors", "evil.py", 5, None, ["x"]])
def test_an_index_names_weights_beside_it_only(tmp_path: Path, name: object) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": name}}))
    with pytest.raises(UnusableWeights, match="the index of the weights"):
        check_files(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": 5}', "[" * 100_000])
def test_an_index_that_is_none_is_for_the_load_to_refuse(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    check_files(tmp_path)


def test_other_files_are_nobodys_affair(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    sparse(GIBIBYTE)(tmp_path / "film.mp4")
    (tmp_path / "model.safetensors").mkdir()
    sparse(100 * GIBIBYTE)(tmp_path / "model-00001.safetensors")
    check_files(tmp_path)


def test_a_volume_with_a_pipe_for_a_config_or_a_manifest_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The gateway itself reads these."""
    weights = Weights("owner/name", Volume.MANGA_OCR, "kind")
    store = WeightStore({Volume.MANGA_OCR: tmp_path})
    for name, replace in {"config.json": link_to("/dev/zero"), "manifest.json": os.mkfifo}.items():
        replace(tmp_path / name)
        (tmp_path / "owner" / "name").mkdir(parents=True, exist_ok=True)
        replace(tmp_path / "owner" / "name" / name)
    refs = tmp_path / "models--owner--name" / "refs"
    refs.mkdir(parents=True)
    (refs.parent / "snapshots" / "abc").mkdir(parents=True)
    (refs / "main").symlink_to("/dev/zero")
    store.folder(weights)
    assert store.place(weights).manifest is None
    assert read_context_length([tmp_path / "config.json"]) is None


@pytest.mark.parametrize(("length", "told"), [(4096, 4096), (0, None), (10**3999, None), ("x", None)])
def test_a_context_is_as_long_as_contexts_are(tmp_path: Path, length: object, told: int | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": length}))
    assert read_context_length([tmp_path / "config.json"]) == told


CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "a crop 100,000 pixels wide": ("preprocessor_config.json", {"crop_size": 100_000}),
    "a crop 100,000 pixels high": ("preprocessor_config.json", {"crop_size": {"height": 100_000, "width": 1}}),
    "a size of a list": ("preprocessor_config.json", {"size": [336, 100_000]}),
    "a short side that is long": ("preprocessor_config.json", {"size": {"shortest_edge": 2000}}),
    "a side below 0": ("processor_config.json", {"image_processor": {"size": {"height": -(10**9)}}}),
    "pixels without end": ("preprocessor_config.json", {"image_processor_type": "Qwen2VLX", "max_pixels": 10**10}),
    "a number that nobody knows": ("preprocessor_config.json", {"evil": 10**12}),
    "a number of 4,000 digits": ("preprocessor_config.json", {"crop_size": 10**3999}),
    "a picture of 100,000": ("config.json", {"vision_config": {"image_size": 100_000}}),
    "a million layers": ("config.json", {"text_config": {"num_hidden_layers": 10**6}}),
    "half a million heads": ("config.json", {"encoder": {"num_attention_heads": 5 * 10**5}}),
    "a width of a million": ("config.json", {"text_config": {"hidden_size": 10**6}}),
    "a billion words": ("config.json", {"text_config": {"vocab_size": 10**9}}),
    "a billion positions": ("config.json", {"text_config": {"max_position_embeddings": 10**9}}),
    "pinpoints without end": ("config.json", {"image_grid_pinpoints": [[336, 336]] * 300}),
    "a pinpoint of 100,000": ("config.json", {"image_grid_pinpoints": [[336, 100_000]]}),
    "a thousand beams": ("generation_config.json", {"num_beams": 1000}),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_numbers_that_no_model_has_are_refused_by_name(tmp_path: Path, case: str) -> None:
    name, change = CONFIGS[case]
    (tmp_path / name).write_text(json.dumps(change))
    with pytest.raises(UnusableWeights, match=name.replace(".", r"\.")) as refusal:
        check_numbers(tmp_path)
    assert "evil" not in str(refusal.value)


@pytest.mark.parametrize("weights", [BLIP, LLAVA, LLAVA_NEXT, MANGA_OCR])
def test_sound_weights_pass(weights: Path) -> None:
    check_files(weights)
    check_numbers(weights)


PUBLISHED = {
    "llava-onevision": {
        "image_grid_pinpoints": [[384, 384 * n] for n in range(1, 7)] * 6,
        "size": {"height": 384, "width": 384},
        "rescale_factor": 0.00392156862745098,
    },
    "Qwen2-VL": {
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": {"shortest_edge": 3136, "longest_edge": 12845056},
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": 14,
        "temporal_patch_size": 2,
    },
    "DETR": {"size": {"shortest_edge": 800, "longest_edge": 1333}},
    "CLIP": {"crop_size": {"height": 336, "width": 336}, "size": {"shortest_edge": 336}, "resample": 3},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_of_published_processors_pass(tmp_path: Path, name: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PUBLISHED[name]))
    check_numbers(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "5", "null", '{"size": NaN}', "\xff"])
def test_settings_that_are_none_are_for_the_load_to_refuse(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    check_numbers(tmp_path)
