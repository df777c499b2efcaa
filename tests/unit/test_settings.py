"""Settings: the seed's names, wrong values, and the files that list every variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llm_vision.settings import Settings

ROOT = Path(__file__).parents[2]


def variables() -> dict[str, str]:
    """Every variable's name and its docstring."""
    found = {}
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variable = alias.choices[0] if alias else f"VISION_{name.upper()}"  # type: ignore[union-attr]
        found[str(variable)] = field.description or ""
    return found


def settings_from(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)  # type: ignore[call-arg]


def test_the_seeds_variables_work(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(
        monkeypatch,
        LLAVA_MODEL_ID="liuhaotian/llava-v1.5-13b",
        LLAVA_DEVICE="cuda",
        TRANSFORMERS_CACHE="/app/data/llava_models",
        MANGAOCR_MODEL_PATH="/app/data/mangaocr_models",
    )
    assert settings.llava_model_id == "liuhaotian/llava-v1.5-13b"
    assert settings.llava_device == "cuda"
    assert settings.transformers_cache == Path("/app/data/llava_models")
    assert settings.mangaocr_model_path == Path("/app/data/mangaocr_models")


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch, VISION_API_KEYS=" a, b ,", VISION_PRELOAD="")
    assert [key.get_secret_value() for key in settings.api_keys] == ["a", "b"]
    assert settings.preload == ()


def test_keys_do_not_show_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "sesame" not in repr(settings_from(monkeypatch, VISION_API_KEYS="sesame"))


def test_every_setting_says_what_it_is() -> None:
    assert not [name for name, text in variables().items() if not text]


def test_env_example_lists_exactly_the_variables_with_their_defaults() -> None:
    lines = re.findall(r"^#?\s?([A-Z][A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in lines) == sorted(variables())
    defaults = Settings(_env_file=None)  # type: ignore[call-arg]
    for (name, value), field in zip(sorted(lines), sorted(variables()), strict=True):
        if value:
            os.environ[name] = value
            try:
                assert Settings(_env_file=None) == defaults, field  # type: ignore[call-arg]
            finally:
                del os.environ[name]


def test_the_configuration_page_lists_exactly_the_variables() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert sorted(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == sorted(variables())


WRONG = [
    ("VISION_PORT", "70000"),
    ("VISION_PORT", "nine"),
    ("VISION_BIND", "everywhere"),
    ("VISION_KEEP_ALIVE", "-5"),
    ("VISION_KEEP_ALIVE", "-0.5"),
    ("VISION_OCR_ENGINE", "efficientnet-lite0"),
    ("VISION_DEVICE", "tpu"),
    ("VISION_MAX_FILE_MB", "0"),
    ("VISION_LOG_FORMAT", "xml"),
    ("VISION_CORS_ORIGINS", "*"),
    ("VISION_PRELOAD", "no-such-model"),
    ("VISION_OCR_ENGINE", "no-such-model"),
    ("LLAVA_DEVICE", "gpu"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_stops_the_start_and_names_its_variable(name: str, value: str) -> None:
    environment = {**os.environ, name: value}
    answer = subprocess.run(
        [sys.executable, "-m", "llm_vision.cli.main", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert answer.returncode == 78
    assert name in answer.stderr
    assert "Traceback" not in answer.stderr
