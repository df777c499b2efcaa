"""A picture as base64 in JSON."""

from __future__ import annotations

import base64
import json
import random

import pytest

from llm_vision.api.ocr.bodies import OcrForm
from llm_vision.api.shared.uploads import _parse_json
from llm_vision.errors import InvalidParameter

PIECE = 1024 * 1024


def parsed(image: str) -> bytes:
    return bytes(_parse_json(bytearray(json.dumps({"image": image}).encode()), OcrForm, 4 * PIECE)[0])


@pytest.mark.parametrize("size", [1, 3, 3 * PIECE // 4, 3 * PIECE // 4 + 1, 2_000_001])
@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "image/png;base64,"])
def test_pieces_make_the_whole(size: int, head: str) -> None:
    data = random.Random(size).randbytes(size)
    assert parsed(head + base64.b64encode(data).decode()) == data


def test_nothing_makes_nothing() -> None:
    assert parsed("") == b""


@pytest.mark.parametrize("bad", ["A", "AAA", "====", "AA=A", "A" * PIECE + "A", "é" * 4, "AAAA\n"])
def test_what_is_no_base64(bad: str) -> None:
    with pytest.raises(InvalidParameter):
        parsed(bad)
