"""The decoder process: files in, RGB pixels out; what it reads may hang or crash it, and nothing else.

Started as `python -P -m llm_vision.runtime.decoders.child FD PARENT_PID ARGUMENT_JSON`.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
import socket
import sys
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from ...errors import VisionError
from ...guard import guard_process
from ...images.decode import MEMORY_PER_PIXEL, ImageLimits, decode, to_rgb
from ...images.raw import cut_strips
from ..processes import wire

_MOST_TEXT_BYTES = 8 * 1024 * 1024  # comments of a PNG: workflows of drawing tools have a few MiB, bombs more
_LARGE_BYTES = 32 * 1024 * 1024
_OWN_MEMORY = 1024 * 1024 * 1024  # addresses, of which Python, Pillow and its threads use a tenth


class _Skipped(ConnectionError):
    """The gateway does not want the picture."""


def _limit_memory(limits: ImageLimits) -> None:
    """Let no file take more memory than a picture of the largest size."""
    most = _OWN_MEMORY + limits.max_pixels * MEMORY_PER_PIXEL
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _rgb_rows(picture: Image.Image) -> Iterator[bytes]:
    """RGB pixels from top to bottom; converted in strips, since a whole copy takes 4 bytes a pixel."""
    for top, bottom in cut_strips(picture.width, picture.height):
        yield to_rgb(picture.crop((0, top, picture.width, bottom))).tobytes()


def _serve(sock: socket.socket, limits: ImageLimits, seconds: float) -> None:
    """Decode one file after the other until told to stop, each in so much processor time."""
    received = sock.makefile("rb")

    def ask(width: int, height: int) -> None:
        if width * height * 3 <= header["unasked"]:
            return
        wire.send_blocking(sock, {"type": "measured", "width": width, "height": height})
        if wire.receive_blocking(received)[0]["type"] != "go":
            raise _Skipped

    while True:
        signal.setitimer(signal.ITIMER_PROF, 0)
        header, data = wire.receive_blocking(received)
        if header["type"] == "stop":
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)  # of this process's processor time; its end is SIGPROF's
        try:
            picture = decode(data, limits, ask)
            del data
            first = to_rgb(picture.crop((0, 0, 1, 1)))  # a mode that cannot be converted is refused before the frame
            size = picture.width * picture.height * len(first.mode)
            wire.send_blocking(sock, {"type": "decoded", "width": picture.width, "height": picture.height}, size)
            for rows in _rgb_rows(picture):
                sock.sendall(rows)
            del picture
            if size > _LARGE_BYTES:
                gc.collect()  # Pillow's AVIF decoder hangs in a cycle, with all that it decoded
        except _Skipped:
            continue
        except VisionError as error:
            wire.send_blocking(sock, {"type": "refused", "code": error.code, "detail": error.detail})


def main() -> None:
    """Announce readiness, then serve."""
    descriptor, parent_pid, argument = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    guard_process(parent_pid)
    limits = ImageLimits(**argument["limits"])
    _limit_memory(limits)
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # else Pillow refuses what an operator allows
    PngImagePlugin.MAX_TEXT_MEMORY = _MOST_TEXT_BYTES
    sock = socket.socket(fileno=descriptor)
    wire.send_blocking(sock, {"type": "ready"})
    try:
        _serve(sock, limits, argument["seconds"])
    except (wire.PeerClosed, wire.BadFrame, OSError):
        return


if __name__ == "__main__":
    main()
