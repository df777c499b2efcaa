"""Promise 3 for LLaVA: damaged, foreign or incomplete weights are refused, with 16 bits and with 4."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.damages import Damage, damages_of
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied
from llm_vision.models.base import LoadContext, Quantization, UnusableWeights
from llm_vision.models.families.vlm.llava import Llava

NAME = "language_model.model.layers.0.mlp.down_proj.weight"
DAMAGES: dict[str, Damage] = {
    **damages_of(NAME, "text_config"),
    "no tokenizer": lambda folder: [file.unlink() for file in folder.glob("tokenizer*")],
    "no picture processor": lambda folder: (folder / "processor_config.json").unlink(),
    "half a template": lambda folder: (folder / "chat_template.jinja").write_text("{% for message in"),
    "a template without the picture": lambda folder: (folder / "chat_template.jinja").write_text("USER: hello"),
}


@pytest.mark.parametrize("bits", [Quantization.NONE, Quantization.FOUR])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_promise_03_damaged_weights_are_refused(tmp_path: Path, damage: Damage, bits: Quantization) -> None:
    folder = copied(LLAVA, tmp_path / "weights")
    damage(folder)
    with pytest.raises(UnusableWeights):
        Llava().load(LoadContext("cpu", 1, folder, bits, LLAVA_ID))


def test_four_bits_of_files_that_were_exchanged_are_made_anew(tmp_path: Path) -> None:
    folder = copied(LLAVA, tmp_path / "weights")
    Llava().load(LoadContext("cpu", 1, folder, Quantization.FOUR, LLAVA_ID))
    damages_of(NAME, "text_config")["another shape"](folder)
    with pytest.raises(UnusableWeights):
        Llava().load(LoadContext("cpu", 1, folder, Quantization.FOUR, LLAVA_ID))
