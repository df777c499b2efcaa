"""Promise 5: weights can never run code, whatever lies in their folder."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.counts import ALL
from fixtures.tiny_models import LLAVA_ID, OF_MODEL, copied

TESTS = Path(__file__).parent.parent
LOAD = """
import json, os, sys
from pathlib import Path
from llm_vision.models.registry import Catalog
from llm_vision.models.base import LoadContext, UnusableWeights
import importlib
model_id, folder, canary = sys.argv[1:]
def watch(event, arguments):
    if event in ("os.system", "subprocess.Popen", "os.exec", "socket.connect"):
        Path(canary).write_text(event)
sys.addaudithook(watch)
entry = Catalog.discover()[model_id]
module, name = entry.class_path.split(":")
model = getattr(importlib.import_module(module), name)()
try:
    model.load(LoadContext("cpu", 1, Path(folder), model_id=model_id))
except UnusableWeights as refusal:
    print("refused:", refusal)
else:
    print("loaded")
"""
CODE = "import pathlib; pathlib.Path({canary!r}).write_text('ran')\n"


class Exploit:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return exec, (CODE.format(canary=str(self._canary)),)


def _changed(folder: Path, file: str, change: Callable[[dict], object]) -> None:
    found = json.loads((folder / file).read_text())
    change(found)
    (folder / file).write_text(json.dumps(found))


def pickled_weights(folder: Path, canary: Path) -> None:
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Exploit(canary)}))


def automatic_class(folder: Path, canary: Path) -> None:
    (folder / "evil.py").write_text(CODE.format(canary=str(canary)))
    _changed(folder, "config.json", lambda config: config.update(auto_map={"AutoModel": "evil.Evil"}))


def kernel_of_the_hub(folder: Path, canary: Path) -> None:
    change = {"_attn_implementation_internal": "evil/kernel", "_attn_implementation": "evil/kernel"}
    _changed(folder, "config.json", lambda config: config.update(change))


def nested_trust(folder: Path, canary: Path) -> None:
    (folder / "evil.py").write_text(CODE.format(canary=str(canary)))
    inner = {"trust_remote_code": True, "auto_map": {"AutoConfig": "evil.Evil"}}
    _changed(
        folder, "config.json", lambda config: config.update(text_config={**config.get("text_config", {}), **inner})
    )


def template(folder: Path, canary: Path) -> None:
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('touch %s') }}"
    (folder / "chat_template.jinja").write_text(escape % canary)


def tokenizer_code(folder: Path, canary: Path) -> None:
    (folder / "evil.py").write_text(CODE.format(canary=str(canary)))
    change = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    _changed(folder, "tokenizer_config.json", lambda config: config.update(change))


def processor_code(folder: Path, canary: Path) -> None:
    (folder / "evil.py").write_text(CODE.format(canary=str(canary)))
    change = {"auto_map": {"AutoProcessor": "evil.Evil", "AutoImageProcessor": "evil.Evil"}}
    name = "processor_config.json" if (folder / "processor_config.json").exists() else "preprocessor_config.json"
    _changed(folder, name, lambda config: config.update(change))


def link_outside(folder: Path, canary: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")


ATTACKS = (
    pickled_weights, automatic_class, kernel_of_the_hub, nested_trust, template, tokenizer_code, processor_code,
    link_outside,
)  # fmt: skip


MODELS = ("manga-ocr", LLAVA_ID)
ON_ONE_MODEL = [(attack, MODELS[number % 2]) for number, attack in enumerate(ATTACKS)]
ON_EACH = list(itertools.product(ATTACKS, MODELS))


@pytest.mark.parametrize(("attack", "model_id"), ON_EACH if ALL else ON_ONE_MODEL)
def test_promise_05_nothing_runs(tmp_path: Path, attack: Callable[[Path, Path], None], model_id: str) -> None:
    folder, canary = copied(OF_MODEL[model_id], tmp_path / "weights"), tmp_path / "canary"
    attack(folder, canary)
    arguments = [sys.executable, "-c", LOAD, model_id, str(folder), str(canary)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=folder, check=False)
    assert not canary.exists(), canary.read_text()
    assert done.returncode == 0, done.stderr[-2000:]
    may_be_ignored = attack in (template, tokenizer_code, processor_code)
    assert done.stdout.startswith(("refused", "loaded") if may_be_ignored else "refused"), done.stdout
