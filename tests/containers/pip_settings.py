"""This machine's settings of pip as build arguments; folders that it takes packages from are served over HTTP."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

_FOLDERS = ("find-links", "extra-index-url", "index-url")
_PLAIN = ("trusted-host", "cert")


@contextlib.contextmanager
def build_arguments() -> Iterator[dict[str, str]]:
    """Names and values, for as long as the folders are served; a build must run in the host's network."""
    with contextlib.ExitStack() as served:
        found = {_variable(name): value for name, value in _settings().items() if name in _PLAIN}
        for name, value in _settings().items():
            if name in _FOLDERS:
                found[_variable(name)] = " ".join(_reachable(name, place, served) for place in value.split())
        yield found


def _variable(name: str) -> str:
    return f"PIP_{name.upper().replace('-', '_')}"


def _settings() -> dict[str, str]:
    """What `pip config list` tells; the environment wins over files."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        found[name.rpartition(".")[2]] = value.strip("'\"")
    return found


def _reachable(name: str, place: str, served: contextlib.ExitStack) -> str:
    """A URL for a folder; other places are as they are."""
    if "://" in place and not place.startswith("file:"):
        return place
    path = Path(urlsplit(place).path if place.startswith("file:") else place)
    if name == "find-links":
        return f"{served.enter_context(_serving(path))}/"
    return f"{served.enter_context(_serving(path.parent))}/{path.name}/"  # an index leads to files beside it


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=os.fspath(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
