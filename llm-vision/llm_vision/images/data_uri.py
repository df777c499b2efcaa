"""Pictures that stand in a text: as a data URI (RFC 2397), or as base64 alone."""

from __future__ import annotations

import base64

from ..errors import InvalidDataUrl, InvalidParameter, PayloadTooLarge

_SCHEME = "data:"
_LONGEST_HEAD = 1024  # characters
_PIECE = 1024 * 1024  # characters; four are three bytes
_WITHOUT_PICTURE_TYPE = ("", "application/octet-stream")  # the bytes themselves say what they are


def is_data_uri(text: str) -> bool:
    """Whether it begins as a data URI does."""
    return text[: len(_SCHEME)].lower() == _SCHEME


def decode_data_uri(text: str, max_bytes: int, param: str | None = None) -> bytearray:
    """Bytes of `data:image/png;base64,...`; large ones in a thread.

    Args:
        text: the data URI.
        max_bytes: most that the picture may have.
        param: the field, for errors.

    Raises:
        InvalidDataUrl: it is none, is not base64, or is of another type than a picture's.
        PayloadTooLarge: the picture has more bytes, by the text's length.
    """
    comma = text.find(",", 0, _LONGEST_HEAD)
    if not is_data_uri(text) or comma < 0:
        raise InvalidDataUrl("an image's data URI starts with data:image/png;base64, or similar", param=param)
    _check_head(text[len(_SCHEME) : comma], param)
    if comma + 1 == len(text):
        raise InvalidDataUrl("the data URI has no data", param=param)
    try:
        return _decode(text, comma + 1, max_bytes, param)
    except ValueError:
        raise InvalidDataUrl(
            "the data is not base64 with its padding, without spaces and line ends", param=param
        ) from None


def _check_head(head: str, param: str | None) -> None:
    """Refuse what is not base64, or not a picture, by what stands between `data:` and the comma."""
    media_type, *parameters = (part.strip().lower() for part in head.split(";"))
    if not parameters or parameters[-1] != "base64":
        raise InvalidDataUrl("the data must be base64, marked by ;base64 before the comma", param=param)
    if media_type.startswith("image/svg"):
        raise InvalidDataUrl("SVG is not accepted; send a raster image such as PNG", param=param)
    if not media_type.startswith("image/") and media_type not in _WITHOUT_PICTURE_TYPE:
        raise InvalidDataUrl("the media type must be image/*", param=param)


def decode_base64(text: str, max_bytes: int, param: str) -> bytearray:
    """Bytes of base64 alone; large ones in a thread.

    Args:
        text: the base64; nothing makes nothing.
        max_bytes: most that the picture may have.
        param: the field, for errors.

    Raises:
        InvalidParameter: it is not base64.
        PayloadTooLarge: the picture has more bytes, by the text's length.
    """
    try:
        return _decode(text, 0, max_bytes, param)
    except ValueError:
        raise InvalidParameter(f"`{param}` is not base64", param=param) from None


def _decode(text: str, start: int, max_bytes: int, param: str | None) -> bytearray:
    """Decode from `start` in pieces, so that other threads get their turn.

    Raises:
        ValueError: it is not base64.
        PayloadTooLarge: it is longer than it may be.
    """
    padding = text.endswith("=") + text.endswith("==")
    if (len(text) - start) // 4 * 3 - padding > max_bytes:
        raise PayloadTooLarge(f"the limit is {max_bytes} bytes", param=param)
    if (len(text) - start) % 4 or text.find("=", start, -2) >= 0:  # the decoder overlooks some of this
        raise ValueError("padding is missing, or stands before the end")
    data = bytearray()
    for at in range(start, len(text), _PIECE):
        data += base64.b64decode(text[at : at + _PIECE], validate=True)
    return data
