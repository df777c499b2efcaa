"""A prompt that nobody waits for any more is not read to its end."""

from __future__ import annotations

import pytest

from fixtures.chats import chat, user
from fixtures.counts import THREADS
from fixtures.items import PlainItem
from fixtures.tiny_models import LLAVA, LLAVA_ID
from llm_vision.errors import ClientClosed
from llm_vision.models.base import LoadContext
from llm_vision.models.families.vlm.llava import Llava


@pytest.fixture(scope="module")
def model() -> Llava:
    loaded = Llava()
    loaded.load(LoadContext("cpu", THREADS, LLAVA, model_id=LLAVA_ID))
    return loaded


def test_reading_a_prompt_ends_between_two_layers(model: Llava) -> None:
    read: list[int] = []
    leaving = chat([user("Is there a red circle? " * 20)])
    layers = model.network.get_decoder().layers
    hooks = [
        layer.register_forward_hook(lambda *_, at=at: _enter(leaving, read, at)) for at, layer in enumerate(layers)
    ]
    (ended,) = model.predict([leaving])
    for hook in hooks:
        hook.remove()
    assert isinstance(ended, ClientClosed)
    assert (read, len(layers) > 1, leaving.tokens) == ([0], True, [])
    (answer,) = model.predict([chat([user("Is there a red circle? " * 20)], max_tokens=3)])
    assert isinstance(answer, dict), "the model goes on"
    assert answer["usage"]["reused_tokens"] == 0, "what was half read is not kept"


def _enter(item: PlainItem, read: list[int], layer: int) -> None:
    """The client leaves while the first layer is at work."""
    read.append(layer)
    item.cancelled = True
