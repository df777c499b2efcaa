"""The import arrows of docs/architecture.md: app -> api -> services -> runtime -> models, and leaves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import llm_vision

PACKAGE = Path(llm_vision.__file__).parent
LEAVES = {"schemas", "images", "manga", "errors", "logs", "metrics", "upstreams"}
MAY_IMPORT = {
    "cli": {"app", "runtime", "server", "settings", "logs"},
    "app": {"api", "catalog", "services", "runtime", "models", "settings", "errors", "images", "metrics"},
    "catalog": {"models", "services", "settings"},
    "server": {"api", "http_protocol"},
    "http_protocol": {"api", "errors"},
    "api": {"services", "runtime", "schemas", "images", "manga", "errors", "metrics", "logs"},
    "services": {"runtime", "models", "images", "manga", "errors", "metrics"},
    "runtime": {"models", "images", "errors", "metrics"},
    "models": {"manga", "images", "errors"},
    "settings": {"logs", "upstreams"},
    **{leaf: {"errors", "logs"} for leaf in LEAVES},
    "errors": set(),
    "logs": set(),
    "schemas": set(),
}
LIBRARIES_OF_MODELS = {
    "torch", "transformers", "onnxruntime", "rapidocr", "cv2", "bitsandbytes", "manga_ocr", "httpx2", "stamina",
    "huggingface_hub",
}  # fmt: skip
FILES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Absolute dotted names of everything that a file imports, wherever it does."""
    found = set()
    package = ("llm_vision", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "llm_vision" else {module}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_one_way(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":
        return
    layers = {name.split(".")[1] for name in imports_of(path) if name.startswith("llm_vision.")}
    assert layers - {layer, "__version__"} <= MAY_IMPORT[layer]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_models_know_their_libraries(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports_of(path)} & LIBRARIES_OF_MODELS
    fetches = path.name == "url_pictures.py"
    assert not libraries - ({"httpx2"} if fetches else set()) or layer_of(path) == "models"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_api_and_the_start_know_http(path: Path) -> None:
    frameworks = {name.split(".")[0] for name in imports_of(path)} & {"fastapi", "starlette", "uvicorn"}
    assert not frameworks or layer_of(path) in {"api", "app", "server", "http_protocol"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short_and_say_what_they_are_for(path: Path) -> None:
    source = path.read_text()
    assert source.count("\n") <= 320
    assert ast.get_docstring(ast.parse(source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno <= 55, node.name


def test_building_the_app_imports_no_model_library_and_opens_no_socket() -> None:
    script = """
import sys
forbidden = []
network = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: forbidden.append(event) if event in network else None)
from llm_vision.app import create_app
from llm_vision.settings import Settings
create_app(Settings())
libraries = {name.split(".")[0] for name in sys.modules}
print(sorted(libraries & %r), forbidden)
""" % (LIBRARIES_OF_MODELS | {"numpy"})
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert answer.stdout.strip() == "[] []"
