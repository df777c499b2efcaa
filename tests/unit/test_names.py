"""The names that people know lead to the models there are; others are answered with the nearest."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llm_vision.models.base import ModelSpec, Task
from llm_vision.models.registry import Catalog, CatalogEntry

MISTRAL, ONEVISION = "llava-hf/llava-v1.6-mistral-7b-hf", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
CATALOG = Catalog.discover()


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("llava", MISTRAL),
        ("llava:latest", MISTRAL),
        ("LLaVA:7B", MISTRAL),
        ("llava:v1.6", MISTRAL),
        ("llava:7b-v1.6-mistral-q4_0", MISTRAL),
        ("llava:7b-v1.6-mistral-fp16", MISTRAL),
        ("llava:7b-v1.6-vicuna-q5_K_M", "llava-hf/llava-v1.6-vicuna-7b-hf"),
        ("llava:7b-v1.5-q4_0", "llava-hf/llava-1.5-7b-hf"),
        ("llava:13b", "llava-hf/llava-v1.6-vicuna-13b-hf"),
        ("llava:13b-v1.6-vicuna-q8_0", "llava-hf/llava-v1.6-vicuna-13b-hf"),
        ("llava:13b-v1.5-q4_1", "llava-hf/llava-1.5-13b-hf"),
        ("llava:34b-v1.6-q2_K", "llava-hf/llava-v1.6-34b-hf"),
        ("llava:34b", "llava-hf/llava-v1.6-34b-hf"),
        ("llava-phi3", ONEVISION),
        ("llava-phi3:3.8b-mini-q4_0", ONEVISION),
        ("llava-llama3:8b-v1.1-q4_0", MISTRAL),
        ("bakllava", MISTRAL),
        ("llava-v1.6-mistral-7b-hf", MISTRAL),
        ("liuhaotian/llava-v1.6-34b", "llava-hf/llava-v1.6-34b-hf"),
        ("RapidOCR:latest", "rapidocr"),
        ("manga_ocr", "manga-ocr"),
        ("kha-white/manga-ocr-base", "manga-ocr"),
    ],
)
def test_names_that_people_know(name: str, model_id: str) -> None:
    assert CATALOG.find(name) == model_id


@pytest.mark.parametrize("name", ["gpt-4o", "llava:70b", "llava:7b-v1.7", "llama3.2-vision", "", ":latest", "-q4_0"])
def test_other_names_mean_nothing(name: str) -> None:
    assert CATALOG.find(name) is None


def test_every_id_and_alias_means_its_model() -> None:
    for model_id, entry in CATALOG.items():
        for name in (model_id, *entry.spec.aliases):
            assert CATALOG.find(name) == CATALOG.find(f"{name}:latest") == model_id


def test_the_nearest_names_are_told() -> None:
    assert "nearest: manga-ocr" in CATALOG.explain_missing("manga-orc")
    assert "llava-hf/llava-v1.6-34b-hf" in CATALOG.explain_missing("llava-v1.6-35b").partition("there are")[0]
    assert "nearest" not in CATALOG.explain_missing("\N{SNOWMAN}" * 200)


def test_a_model_whose_id_is_anothers_alias_keeps_its_name() -> None:
    own = ModelSpec("llava", "Of another server", frozenset({Task.CHAT}), "unknown", 0, 1)
    assert Catalog([*CATALOG.values(), CatalogEntry(own, "x:Y")]).find("llava:latest") == "llava"


def test_on_windows_one_sentence_says_what_is_needed() -> None:
    script = "import sys; sys.platform = 'win32'; import llm_vision"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.stderr.splitlines()[-1].endswith("LLM Vision runs on Linux and macOS: on Windows, use WSL or Docker")
