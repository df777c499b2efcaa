"""How much a file asks of its decoder beyond its pixels: scans, segments, chunks, blocks and strips are counted.

Figures are of one core at 3 GHz, with Pillow 12 and libjpeg-turbo 3.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from ..errors import ImageTooComplex

MOST_SCANS = 100
"""Of a JPEG: encoders write 10 to 14 (the script of `jpegtran -progressive` has 10, mozjpeg's longest 14)."""
SCANNED_PIXELS = 1_000_000_000
"""Of all scans of a JPEG together, 1.1 s: each goes over all blocks, also where it has a few bytes. The largest
pictures may have `LEAST_SCANS` all the same."""
LEAST_SCANS = 20
MOST_SEGMENTS = 500
"""Of a JPEG, before and between its scans: 20 MiB of metadata are 320 full ones. Pillow joins those of EXIF in time
that grows with their square: 400,000 take 104 s."""
MOST_CHUNKS = 40_000
"""Of a PNG, 0.4 s: one for each row of the highest picture."""
MOST_PROFILES = 4
"""Of a PNG, which may have one; Pillow unpacks each, up to a MiB."""
MOST_BLOCKS = 100_000
"""Of a GIF in front of its first picture, 0.2 s: 25 MB of comments in blocks of their full size."""
MOST_STRIPS = 40_000
"""Strips or tiles of a TIFF, 0.3 s: one for each row of the highest picture."""
_PADDING = 16
"""Bytes that are none of a segment cost a decoder as much as a segment has."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_BEHIND_A_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXTENSION, _PICTURE = 0x21, 0x2C
_OFFSETS_OF_STRIPS, _OFFSETS_OF_TILES = 273, 324


def check_complexity(name: str, data: bytes | bytearray) -> None:
    """Refuse a file that would keep its decoder busy for longer than its pixels justify.

    A damaged file passes: its decoder finds out.

    Args:
        name: of the format, as Pillow has it. WebP, AVIF and BMP files have nothing that costs much.
        data: the file.

    Raises:
        ImageTooComplex: it has too many parts.
    """
    if check := _CHECKS.get(name):
        try:
            check(data)
        except (IndexError, struct.error):  # it ends in the middle of a part
            return


def _check_jpeg(data: bytes | bytearray) -> None:
    position, segments, scans, pixels = 2, 0, 0, 0
    marker = _MARKER
    while found := marker.search(data, position):
        code = data[found.end() - 1]
        if code == _END_OF_IMAGE:
            break
        segments += 1 if marker is _MARKER_BEHIND_A_SCAN else 1 + (found.start() - position) // _PADDING
        marker, position = _MARKER, found.end()
        if code in _WITHOUT_LENGTH:
            continue
        if code in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 3)
            pixels = max(pixels, height * width)
        if code == _START_OF_SCAN:
            scans, segments, marker = scans + 1, segments - 1, _MARKER_BEHIND_A_SCAN
            most = min(MOST_SCANS, max(LEAST_SCANS, SCANNED_PIXELS // max(1, pixels)))
            _bound(scans, most, "scans")
        _bound(segments, MOST_SEGMENTS, "segments")
        position += struct.unpack_from(">H", data, position)[0]


def _check_png(data: bytes | bytearray) -> None:
    position, chunks, profiles = 8, 0, 0
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IEND":
            break
        chunks += 1
        profiles += kind == b"iCCP"
        _bound(chunks, MOST_CHUNKS, "chunks")
        _bound(profiles, MOST_PROFILES, "colour profiles")
        position += 12 + length


def _check_gif(data: bytes | bytearray) -> None:
    position, blocks = 13 + _colours_of_gif(data), 0
    while (introducer := data[position]) != _PICTURE:
        blocks += 1
        position += 1
        if introducer == _EXTENSION:
            position += 1
            while size := data[position]:
                blocks += 1
                _bound(blocks, MOST_BLOCKS, "blocks")
                position += 1 + size
            position += 1
        _bound(blocks, MOST_BLOCKS, "blocks")


def _colours_of_gif(data: bytes | bytearray) -> int:
    """Bytes of the global colour table."""
    flags = data[10]
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _check_tiff(data: bytes | bytearray) -> None:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    for number in range(entries):
        tag, _, count = struct.unpack_from(order + "HHI", data, directory + 2 + 12 * number)
        if tag in (_OFFSETS_OF_STRIPS, _OFFSETS_OF_TILES):
            _bound(count, MOST_STRIPS, "strips or tiles")


def _bound(count: int, most: int, parts: str) -> None:
    if count > most:
        raise ImageTooComplex(f"the file has more than {most} {parts}", param="file")


_CHECKS: dict[str, Callable[[bytes | bytearray], None]] = {
    "JPEG": _check_jpeg,
    "PNG": _check_png,
    "GIF": _check_gif,
    "TIFF": _check_tiff,
}
