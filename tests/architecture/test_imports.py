"""The import rules of docs/architecture.md: who may import whom, who knows HTTP, who knows a model's library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import llm_vision

PACKAGE = Path(llm_vision.__file__).parent
LEAVES = (
    "images",
    "manga",
    "admission",
    "errors",
    "metrics",
    "logs",
    "durations",
    "http_client",
    "guard",
    "neighbours",
)
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "cli": ("app", "http.server", "settings", "logs"),
    "app": ("api", "http", "settings", "services", "runtime", "models", *LEAVES),
    "settings": ("logs", "durations"),
    "http": ("admission", "errors", "metrics", "logs"),
    "api.routers": ("api",),
    "api.shared": ("http", "services", *LEAVES),
    "api.ocr": ("api.shared", "http", "services", *LEAVES),
    "api.analyze": ("api.shared", "http", "services", *LEAVES),
    "api.openai": ("api.shared", "http", "services", *LEAVES),
    "api.ollama": ("api.shared", "http", "services", *LEAVES),
    "api.manage": ("api.shared", "http", "services", *LEAVES),
    "api.manga_tools": ("api.shared", "api.ocr", "http", "services", *LEAVES),
    "services": (
        *("runtime.work", "runtime.pool", "runtime.decoders", "runtime.downloads", "runtime.weights"),
        *("runtime.placement", "models.base", "models.registry", "models.tasks", "models.tool_text", *LEAVES),
    ),
    "runtime.work": ("models.base", "images", "errors"),
    "runtime.processes": ("errors", "child_log"),
    "runtime.placement": ("models.base", "errors"),
    "runtime.weights": ("models.base", "admission", "errors"),
    "runtime.downloads": (
        *(
            "runtime.placement",
            "runtime.weights",
            "runtime.processes",
            "models.base",
            "http_client",
            "errors",
            "guard",
            "child_log",
        ),
    ),
    "runtime.decoders": ("runtime.processes", "images", "admission", "errors", "metrics", "guard"),
    "runtime.child": ("runtime.processes", "runtime.weights.proof", "models.base", "errors", "guard", "child_log"),
    "runtime.worker": (
        *("runtime.work", "runtime.placement", "runtime.weights", "runtime.processes"),
        *("models.base", "models.registry", "images", "admission", "errors", "metrics"),
    ),
    "runtime.pool": (
        *("runtime.work", "runtime.worker", "runtime.placement", "runtime.weights"),
        *("models.base", "models.registry", "admission", "errors", "metrics"),
    ),
    "models.base": ("errors",),
    "models.tasks": ("models.base", "manga", "errors"),
    "models.tool_text": ("models.base", "models.tasks", "errors"),
    "models.registry": ("models.base",),
    "models.parts": ("models.base", "admission", "errors"),
    "models.decoding": ("models.base", "models.tasks", "errors"),
    "models.grammar": ("models.base", "models.tasks", "models.tool_text", "errors", "guard", "child_log"),
    "models.loading": ("models.base", "errors"),
    "models.families": (
        *("models.base", "models.registry", "models.tasks", "models.tool_text", "models.decoding", "models.grammar"),
        *("models.loading", "models.parts", "manga", "images", "http_client", "errors"),
    ),
    "images": ("errors",),
    "manga": ("errors",),
    "admission": ("errors",),
    "metrics": ("errors",),
    "errors": (),
    "logs": (),
    "http_client": (),
    "guard": ("neighbours", "child_log"),
    "child_log": (),
    "neighbours": (),
    "durations": (),
}
"""Rooms by the longest name that fits; a room may always import itself. `app` alone is imported by nobody but `cli`."""
BELOW_IN_SERVICES = {
    "agents": {"chat", "analysis", "reading", "pictures", "model_care", "inference"},
    "chat": {"analysis", "reading", "pictures", "model_care", "answer_stream", "inference"},
    "jobs": {"reading", "model_care", "inference"},
    "watching": {"inference", "model_care", "pictures"},
    "analysis": {"pictures", "model_care", "answer_stream", "inference"},
    "reading": {"pictures", "model_care", "inference"},
    "lifecycle": {"model_care"},
    "model_care": {"inference"},
    "answer_stream": {"inference"},
    "pictures": set(),
    "inference": set(),
}
LIBRARIES_OF_MODELS = {
    "torch", "transformers", "onnxruntime", "rapidocr", "cv2", "bitsandbytes", "manga_ocr", "httpx2", "stamina",
    "huggingface_hub", "llguidance", "safetensors", "tokenizers",
}  # fmt: skip
ROOMS_WITH_LIBRARIES = ("models.families", "models.decoding", "models.grammar", "models.loading")
OTHERS_WITH_LIBRARIES = (
    "runtime.downloads.hub",
    "runtime.downloads.convert",
    "services.pictures.fetching",
    "http_client",
)
FRAMEWORKS = {"fastapi", "starlette", "uvicorn"}


def name_of(path: Path) -> str:
    """`api.ocr.crop` for llm_vision/api/ocr/crop.py, and `api.ocr` for its `__init__.py`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def imports_of(name: str) -> Iterator[str]:
    """Absolute dotted names of every module that a file imports, wherever it does, and for whatever."""
    parts = ("llm_vision", *filter(None, name.split(".")))
    package = parts if FILES[name].name == "__init__.py" else parts[:-1]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix("llm_vision.")
                yield f"llm_vision.{inner}" if inner in FILES else module


def our_imports_of(name: str) -> set[str]:
    found = {module for module in imports_of(name) if module.startswith("llm_vision.")}
    return {module.removeprefix("llm_vision.") for module in found} - {name}


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def room_of(name: str) -> str:
    return max((room for room in MAY_IMPORT if is_in(name, room)), key=len)


def test_every_room_of_the_rules_is_there() -> None:
    coming = {"agents", "jobs", "watching"}
    rooms = [*MAY_IMPORT, *(f"services.{name}" for name in BELOW_IN_SERVICES.keys() - coming)]
    assert not [room for room in rooms if not any(is_in(name, room) for name in FILES)]


def test_arrows_point_one_way() -> None:
    wrong = [
        f"{name} -> {module}"
        for name in filter(None, FILES)
        for module in our_imports_of(name)
        if not any(is_in(module, room) for room in (room_of(name), *MAY_IMPORT[room_of(name)]))
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_services_know_only_those_below() -> None:
    wrong = [
        f"{name} -> {module}"
        for name in FILES
        if name.startswith("services.")
        for module in our_imports_of(name)
        if module.startswith("services.")
        if module.split(".")[1] not in {name.split(".")[1], *BELOW_IN_SERVICES[name.split(".")[1]]}
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_a_family_of_models_knows_no_other() -> None:
    wrong = [
        f"{name} -> {module}"
        for name in FILES
        if name.startswith("models.families.")
        for module in our_imports_of(name)
        if module.startswith("models.families.") and module.split(".")[2] != name.split(".")[2]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_files_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for name in FILES:
        graph[name] |= our_imports_of(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_only_models_know_their_libraries() -> None:
    allowed = (*ROOMS_WITH_LIBRARIES, *OTHERS_WITH_LIBRARIES)
    wrong = [
        f"{name}: {module}"
        for name in FILES
        for module in imports_of(name)
        if module.split(".")[0] in LIBRARIES_OF_MODELS and not any(is_in(name, room) for room in allowed)
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_only_api_and_the_start_know_http() -> None:
    wrong = [
        f"{name}: {module}"
        for name in FILES
        for module in imports_of(name)
        if module.split(".")[0] in FRAMEWORKS and name.split(".")[0] not in ("http", "api", "app")
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_every_file_says_what_it_is_for() -> None:
    assert not [name for name, tree in TREES.items() if not ast.get_docstring(tree)]


def test_a_class_has_a_name_of_its_own() -> None:
    """But for the bodies of the wire formats, which have their clients' names."""
    places = defaultdict(list)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not (name.startswith("api.") and name.endswith("bodies")):
                places[node.name].append(name)
    assert not {word: names for word, names in places.items() if len(names) > 1}


def test_building_the_app_imports_no_model_library_and_opens_no_socket() -> None:
    script = """
import sys
forbidden = []
network = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: forbidden.append(event) if event in network else None)
from llm_vision.app.create import create_app
from llm_vision.settings import Settings
create_app(Settings())
libraries = {name.split(".")[0] for name in sys.modules}
print(sorted(libraries & %r), forbidden)
""" % (LIBRARIES_OF_MODELS | {"numpy"})
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    assert answer.stdout.strip() == "[] []"
