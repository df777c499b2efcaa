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

from fixtures.tiny_models import LLAVA_ID, OF_MODEL, copied

Attack = Callable[[Path, Path], None]
LOAD = """
import importlib, json, os, sys, traceback
from pathlib import Path
import manga_ocr.ocr, torch
from transformers import LlavaForConditionalGeneration, VisionEncoderDecoderModel
from llm_vision.models.registry import Catalog
from llm_vision.models.base import LoadContext, UnusableWeights

def load(model_id, folder, canary):
    def watch(event, arguments):
        if event in ("os.system", "subprocess.Popen", "os.exec", "socket.connect"):
            Path(canary).write_text(event)
    sys.addaudithook(watch)
    os.chdir(folder)
    module, name = Catalog.discover()[model_id].class_path.split(":")
    model = getattr(importlib.import_module(module), name)()
    try:
        model.load(LoadContext("cpu", 1, Path(folder), model_id=model_id))
    except UnusableWeights as refusal:
        return f"refused: {refusal}"
    except BaseException:
        return traceback.format_exc()
    return "loaded"

for model_id, folder, canary, outcome in json.loads(sys.argv[1]):
    if os.fork() == 0:
        Path(outcome).write_text(load(model_id, folder, canary))
        os._exit(0)
    os.wait()
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


CASES = list(itertools.product(ATTACKS, ("manga-ocr", LLAVA_ID)))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each case, with what came of it; every model is loaded in a process of its own, a fork."""
    root = tmp_path_factory.mktemp("attacked")
    cases = []
    for attack, model_id in CASES:
        folder = _of(root, attack, model_id)
        canary = folder / "canary"
        attack(copied(OF_MODEL[model_id], folder / "weights"), canary)
        cases.append([model_id, *map(str, (folder / "weights", canary, folder / "outcome"))])
    subprocess.run([sys.executable, "-c", LOAD, json.dumps(cases)], check=True)
    return root


def _of(root: Path, attack: Attack, model_id: str) -> Path:
    return root / attack.__name__ / model_id.partition("/")[0]


@pytest.mark.parametrize(("attack", "model_id"), CASES)
def test_promise_05_nothing_runs(attacked: Path, attack: Attack, model_id: str) -> None:
    folder = _of(attacked, attack, model_id)
    assert not (folder / "canary").exists(), (folder / "canary").read_text()
    outcome = (folder / "outcome").read_text()
    may_be_ignored = attack in (template, tokenizer_code, processor_code)
    assert outcome.startswith(("refused", "loaded") if may_be_ignored else "refused"), outcome
