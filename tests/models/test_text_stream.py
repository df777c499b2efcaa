"""Text as it comes: nothing is given out that might still be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from fixtures.llama_tokenizer import llama_tokenizer
from fixtures.tiny_models import LLAVA
from llm_vision.models.decoding.text import TextStream


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(LLAVA / "tokenizer.json"))


def streamed(tokenizer: Any, text: str, stop: Sequence[str] = ()) -> tuple[list[str], TextStream]:
    stream = TextStream(tokenizer, stop)
    pieces = []
    for token in tokenizer.encode(text, add_special_tokens=False).ids:
        pieces.append(stream.add(token))
        if stream.is_stopped:
            return pieces, stream
    return [*pieces, stream.end()], stream


@pytest.mark.parametrize("text", ["A red circle.", "日本語 と emoji 🎉🎉 done", "ends in space  \n", "", " leading"])
def test_pieces_are_the_text_without_space_at_its_ends(tokenizer: Any, text: str) -> None:
    pieces, stream = streamed(tokenizer, text)
    assert "".join(pieces) == stream.text == text.strip()
    assert not any("�" in piece for piece in pieces), "half a character is never given out"


@pytest.mark.parametrize(
    ("stop", "wanted"),
    [
        (["circle"], "A red"),
        ([" circle"], "A red"),
        (["le."], "A red circ"),
        (["nothing"], "A red circle."),
        (["zzz", "red", "circle"], "A"),
        ([""], "A red circle."),
        (["A"], ""),
    ],
)
def test_a_stop_text_ends_the_answer_and_never_shows(tokenizer: Any, stop: list[str], wanted: str) -> None:
    pieces, stream = streamed(tokenizer, "A red circle.", stop)
    assert "".join(pieces) == stream.text == wanted
    assert stream.is_stopped == (wanted != "A red circle.")


def test_what_only_begins_like_a_stop_text_comes_late_but_comes(tokenizer: Any) -> None:
    pieces, _ = streamed(tokenizer, "one two three", ["two three four"])
    assert "".join(pieces) == "one two three"
    assert pieces[-1].endswith("two three")


def test_pieces_come_as_soon_as_they_are_certain(tokenizer: Any) -> None:
    pieces, _ = streamed(tokenizer, "A red circle and a blue cross.", ["###"])
    assert sum(bool(piece) for piece in pieces) > 5


@pytest.fixture(params=["Llama's kind", "GPT-2's kind"])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    return llama_tokenizer().backend_tokenizer if request.param == "Llama's kind" else tokenizer


@pytest.mark.parametrize("text", ["the cat 12 red.", "日本 é 🎉 x", "a  b"])
def test_what_is_told_of_tokens_makes_the_text_again(any_tokenizer: Any, text: str) -> None:
    ids = any_tokenizer.encode(text, add_special_tokens=False).ids
    logarithms = torch.zeros(any_tokenizer.get_vocab_size())
    told = [TextStream(any_tokenizer, ()).describe(token, logarithms, 0) for token in ids]
    assert b"".join(bytes(one["bytes"]) for one in told).decode().strip() == text
    assert sum(one["token"].startswith(" ") for one in told) >= text.count(" ") - text.count("  ")


def test_a_token_that_says_nothing_has_no_bytes(any_tokenizer: Any) -> None:
    logarithms = torch.zeros(any_tokenizer.get_vocab_size())
    end = any_tokenizer.token_to_id("</s>")
    assert TextStream(any_tokenizer, ()).describe(end, logarithms, 0)["token"] == "</s>"
