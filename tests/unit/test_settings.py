"""Settings: the seed's names, wrong values, and the files that list every variable."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from fixtures.forking import run_command
from llm_vision.http.server import listen
from llm_vision.settings import Settings
from llm_vision.settings.explain import explain, find_misspelt

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


def test_env_example_lists_exactly_the_variables_with_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # the tests' own
    of_the_service = (ROOT / ".env.example").read_text().partition("## Docker Compose")[0]
    lines = re.findall(r"^#?\s?([A-Z][A-Z_]+)=(.*)$", of_the_service, re.MULTILINE)
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


def test_other_servers_are_read_with_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(
        monkeypatch,
        VISION_UPSTREAMS="qwen=http://gpu:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct, llava:13b=http://[::1]:11434#llava:13b",
        VISION_UPSTREAM_KEYS="qwen=a=b==",
    )
    assert [(server.model_id, server.url, server.model) for server in settings.upstreams] == [
        ("qwen", "http://gpu:8000/v1", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("llava:13b", "http://[::1]:11434/v1", "llava:13b"),
    ]
    assert settings.key_of_upstream == {"qwen": "a=b=="}
    assert "a=b==" not in repr(settings)


def test_revisions_are_read_by_model(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(monkeypatch, VISION_REVISIONS=f"manga-ocr={'a' * 40}, llava-hf/x={'0' * 40},")
    assert settings.revisions == {"manga-ocr": "a" * 40, "llava-hf/x": "0" * 40}


def test_other_servers_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VISION_UPSTREAMS=far=http://gpu/v1#org/model, near=https://here:1/api/#m\n")
    settings = Settings(_env_file=tmp_path / ".env")  # type: ignore[call-arg]
    assert [(server.url, server.model) for server in settings.upstreams] == [
        ("http://gpu/v1", "org/model"),
        ("https://here:1/api/", "m"),
    ]


SERVER = "far=http://gpu:8000/v1#model"
WRONG = [
    ("VISION_UPSTREAMS", "http://gpu:8000/v1"),
    ("VISION_UPSTREAMS", "far=gpu:8000#model"),
    ("VISION_UPSTREAMS", "far=file:///etc/passwd#model"),
    ("VISION_UPSTREAMS", "far=http://gpu:8000/v1"),
    ("VISION_UPSTREAMS", "far=http://gpu:port/v1#model"),
    ("VISION_UPSTREAMS", "far=http://user:sesame@gpu/v1#model"),
    ("VISION_UPSTREAMS", "far=http://gpu/v1?key=sesame#model"),
    ("VISION_UPSTREAMS", "far=http:///v1#model"),
    ("VISION_UPSTREAMS", "two words=http://gpu/v1#model"),
    ("VISION_UPSTREAMS", f"{SERVER},{SERVER}"),
    ("VISION_UPSTREAMS", "rapidocr=http://gpu/v1#model"),
    ("VISION_UPSTREAMS", "embedded-analysis=http://gpu/v1#model"),
    ("VISION_UPSTREAM_KEYS", "sesame"),
    ("VISION_UPSTREAM_KEYS", "nobody=sesame"),
    ("VISION_REVISIONS", "manga-ocr"),
    ("VISION_REVISIONS", "manga-ocr=main"),
    ("VISION_REVISIONS", f"manga-ocr={'a' * 40},manga-ocr={'b' * 40}"),
    ("VISION_REVISIONS", f"rapidocr={'a' * 40}"),
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
    ("LLAVA_DEVICE", "cuda:x"),
    ("LLAVA_QUANTIZATION", "2bit"),
    ("LLAVA_MODEL_ID", "no/such-model"),
    ("VISION_PORT", "-1"),
    ("VISION_PORT", "9100.5"),
    ("VISION_BIND", "203.0.113.7"),  # a documentation address, nobody's own
    ("VISION_BIND", "127.0.0.1:9100"),
    ("VISION_DRAIN_SECONDS", "soon"),
    ("VISION_HEADER_SECONDS", "0"),
    ("VISION_BODY_SECONDS", "-1"),
    ("VISION_BUFFER_MB", "17"),
    ("VISION_LOG_LEVEL", "LOUD"),
    ("VISION_ALLOWED_HOSTS", "https://vision.example/"),
    ("VISION_ALLOWED_HOSTS", "a b"),
    ("VISION_CORS_ORIGINS", "reader.example"),
    ("VISION_API_KEYS", "schlüssel"),
    ("VISION_ADMIN_KEYS", "two words"),
    ("VISION_KEEP_ALIVE", "nan"),
    ("VISION_MAX_LOADED_MODELS", "0"),
    ("VISION_MEMORY_LIMIT_MB", "5"),
    ("VISION_LOAD_SECONDS", "0"),
    ("VISION_CPU_FALLBACK", "perhaps"),
    ("VISION_KEY_REQUESTS_PER_MINUTE", "-1"),
    ("VISION_QUEUE_SIZE", "-1"),
    ("VISION_BATCH_WAIT_MS", "1000"),
    ("VISION_OCR_SECONDS", "0"),
    ("VISION_MAX_PROMPT_CHARS", "0"),
    ("VISION_MAX_PICTURES", "0"),
    ("VISION_MAX_BATCH_MB", "0"),
    ("VISION_MAX_MEGAPIXELS", "400"),
    ("VISION_MAX_RATIO", "0.5"),
    ("VISION_MIN_SIDE", "40000"),
    ("VISION_ALLOW_TIFF", "2"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_stops_the_start_and_names_its_variable(name: str, value: str, tmp_path: Path) -> None:
    status, told = run_command(["serve"], {**os.environ, name: value}, tmp_path)
    assert status == 78
    assert name in told
    assert "Traceback" not in told
    assert value not in told or "KEYS" not in name
    assert "sesame" not in told


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("VISION_PORT", "70000", "VISION_PORT is '70000': it must be a whole number from 0 up to 65535"),
        ("VISION_PORT", "nine", "VISION_PORT is 'nine': it must be a whole number from 0 up to 65535"),
        (
            "VISION_OCR_SECONDS",
            "soon",
            "VISION_OCR_SECONDS is 'soon': it must be a number of seconds, or a duration as",
        ),
        ("VISION_OCR_SECONDS", "0", "VISION_OCR_SECONDS is '0.0': it must be a number above 0"),
        ("VISION_DEVICE", "tpu", "VISION_DEVICE is 'tpu': it must be auto, cpu, cuda, or one GPU"),
        ("LLAVA_QUANTIZATION", "2bit", "LLAVA_QUANTIZATION is '2bit': it must be 'auto', 'none', '8bit' or '4bit'"),
        ("VISION_LOG_LEVEL", "LOUD", "VISION_LOG_LEVEL is 'LOUD': it must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("VISION_CPU_FALLBACK", "perhaps", "VISION_CPU_FALLBACK is 'perhaps': it must be true or false"),
        ("VISION_BIND", "everywhere", "VISION_BIND is 'everywhere': it must be an IP address, or localhost"),
        ("VISION_API_KEYS", "zwei Wörter", "VISION_API_KEYS: a key must be printable ASCII without spaces"),
    ],
)
def test_a_wrong_value_is_explained_in_words(name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)  # type: ignore[call-arg]
    line = explain(refused.value.errors()[0])
    assert line.startswith(told)
    assert "Wörter" not in line


def test_values_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_from(
        monkeypatch,
        VISION_LOG_LEVEL="debug",
        VISION_KEEP_ALIVE="5m",
        VISION_DOWNLOAD="Never",
        VISION_OCR_SECONDS="1m30s",
        VISION_DEVICE="CUDA:1",
    )
    assert (settings.log_level, settings.keep_alive, settings.download) == ("DEBUG", 300, "never")
    assert (settings.ocr_seconds, settings.device) == (90, "cuda:1")


def test_misspelt_variables_are_told_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("VISION_LOGLEVEL=debug\nVISION_UID=1000\n")
    environment = {"VISION_DOWNLAOD": "never", "VISION_PORT": "1", "LLAVA_MODEL_ID": "x", "PATH": "/"}
    assert find_misspelt(environment, str(tmp_path / ".env")) == [
        "VISION_DOWNLAOD is no setting and is ignored; did you mean VISION_DOWNLOAD?",
        "VISION_LOGLEVEL is no setting and is ignored; did you mean VISION_LOG_LEVEL?",
    ]


def test_a_port_that_is_taken_stops_the_start_and_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "llm_vision.cli.main", "serve", "--port", str(port)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert answer.returncode == 78
    assert "VISION_PORT" in answer.stderr
    assert "startup complete" not in answer.stderr


def test_small_answers_are_not_held_back() -> None:
    """asyncio turns Nagle's algorithm off only for sockets whose protocol is named."""
    sock = listen("127.0.0.1", 0)
    assert sock.proto == socket.IPPROTO_TCP
    sock.close()


def test_a_model_that_never_loads_is_tried_for_ever() -> None:
    from llm_vision.errors import ModelLoadFailed
    from llm_vision.runtime.weights.failures import LoadFailures

    failures = LoadFailures()
    for _ in range(2000):
        failures.remember(ModelLoadFailed("broken"), now=0.0)
    with pytest.raises(ModelLoadFailed):
        failures.check(now=299.0, pause=30.0)
    failures.check(now=301.0, pause=30.0)
