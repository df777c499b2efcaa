"""Pictures as data URIs and as base64 alone."""

from __future__ import annotations

import base64
import random

import pytest

from llm_vision.errors import InvalidDataUrl, InvalidParameter, PayloadTooLarge
from llm_vision.images.data_uri import decode_base64, decode_data_uri, is_data_uri

PIECE = 1024 * 1024  # characters that are decoded in one go
LIMIT = 30_000_000
HEAD = "data:image/png;base64,"
SECRET = base64.b64encode(b"the picture of a client").decode()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


SIZES = [1, 2, 3, 3 * PIECE // 4 - 1, 3 * PIECE // 4, 3 * PIECE // 4 + 1, 2_000_001, LIMIT]


@pytest.mark.parametrize("size", SIZES)
def test_pieces_make_the_whole(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert decode_data_uri(HEAD + encoded(data), LIMIT) == data
    assert decode_base64(encoded(data), LIMIT, "images") == data


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "DATA:IMAGE/PNG;BASE64,", "data:;base64,", "data:image/*;base64,",
             "data:application/octet-stream;base64,", "data:image/jpeg;charset=utf-8;name=a.jpg;base64,"],
)  # fmt: skip
def test_heads_that_clients_send(head: str) -> None:
    assert is_data_uri(head)
    assert decode_data_uri(head + "AAEC", LIMIT) == b"\0\1\2"


BAD_HEADS = {
    "no comma": "data:image/png;base64",
    "comma far away": "data:image/png;name=" + "a" * 2000 + ";base64,",
    "no base64": "data:image/png,",
    "base64 as the type": "data:base64,",
    "base64 not at the end": "data:image/png;base64;charset=utf-8,",
    "text": "data:text/plain;base64,",
    "page": "data:text/html;charset=utf-8;base64,",
    "other bytes": "data:application/pdf;base64,",
    "SVG": "data:image/svg+xml;base64,",
    "compressed SVG": "data:image/SVG+xml-compressed;base64,",
    "other scheme": "https://host/a;base64,",
    "other word": "date:image/png;base64,",
    "nothing": "",
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_bad_heads_are_refused_without_being_echoed(name: str) -> None:
    with pytest.raises(InvalidDataUrl) as refused:
        decode_data_uri(BAD_HEADS[name] + SECRET, LIMIT, "image_url")
    assert refused.value.param == "image_url"
    assert SECRET[:6] not in refused.value.detail
    assert ("SVG" in refused.value.detail) == ("SVG" in name)


BAD_DATA = {
    "one character": "A",
    "no padding": "AA",
    "half a padding": "AA=",
    "padding alone": "====",
    "too much padding": "AAAA=",
    "padding in the middle": "AA=A",
    "padding at the end of a piece": "A" * (PIECE - 2) + "==" + "AAAA",
    "a character behind a piece": "A" * PIECE + "A",
    "spaces": "AAAA    AAAA",
    "line end": "AAAA\n",
    "line ends": "AAAA\r\n\r\nAAAA",
    "percents": "AAAA%%%%",
    "a percent": "AAAA%2FA",
    "of URLs": "AAAA-_-_",
    "not ASCII": "é" * 4,
    "half a surrogate pair": "\ud800AAA",
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_what_is_no_base64_is_refused(name: str) -> None:
    with pytest.raises(InvalidDataUrl) as malformed:
        decode_data_uri(HEAD + BAD_DATA[name], LIMIT)
    assert BAD_DATA[name] not in malformed.value.detail
    with pytest.raises(InvalidParameter) as refused:
        decode_base64(BAD_DATA[name], LIMIT, "images")
    assert refused.value.param == "images"
    assert BAD_DATA[name] not in refused.value.detail


@pytest.mark.parametrize("text", ["data:", "data:image/png;base64", "data:image/png;base64A", "data:,", ",", "data"])
def test_stumps_are_refused(text: str) -> None:
    with pytest.raises(InvalidDataUrl):
        decode_data_uri(text, LIMIT)


def test_a_data_uri_without_data_is_refused_and_base64_of_nothing_is_nothing() -> None:
    with pytest.raises(InvalidDataUrl):
        decode_data_uri(HEAD, LIMIT)
    assert decode_base64("", LIMIT, "images") == b""


@pytest.mark.parametrize("size", [998, 999, 1000, 1001, 1002])
def test_the_limit_counts_bytes_of_the_picture(size: int) -> None:
    assert len(decode_data_uri(HEAD + encoded(bytes(size)), size)) == size
    with pytest.raises(PayloadTooLarge):
        decode_data_uri(HEAD + encoded(bytes(size)), size - 1)
    with pytest.raises(PayloadTooLarge):
        decode_base64(encoded(bytes(size)), size - 1, "images")


def test_what_is_too_large_is_not_decoded() -> None:
    """It would be refused for what it holds otherwise."""
    text = "*" * (LIMIT // 3 * 4)
    with pytest.raises(PayloadTooLarge) as refused:
        decode_data_uri(HEAD + text, LIMIT - 1)
    assert str(LIMIT - 1) in refused.value.detail


@pytest.mark.parametrize("text", ["", "data", "https://host/data:", " data:image/png;base64,AAAA", SECRET])
def test_what_is_no_data_uri(text: str) -> None:
    assert not is_data_uri(text)
