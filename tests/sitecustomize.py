"""Runs at the start of every Python process of the tests: none of them may reach beyond this machine (promise 39).

`PYTHONPATH` leads here, so servers, workers and decoders have it too. A try is written to a file and fails.
Also where a test breaks the start of decoder processes, and where packages of the tests are hidden from workers.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

OF_TESTS_ONLY = ("scipy", "skimage", "sklearn")
"""Transformers imports them where it finds them. The image has none of them, so workers here must do without, too."""


def _is_here(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578)."""
    if event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        return
    address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
    host = address[0] if isinstance(address, tuple) else address
    if event != "socket.getaddrinfo" and not isinstance(address, tuple):
        return  # a Unix socket
    if not _is_here(host):
        with open(os.environ["HF_TEST_EGRESS"], "a") as file:
            file.write(f"{event} {host!r} by {sys.argv[:3]}\n")
        raise PermissionError("tests stay on this machine")


def hide(names: tuple[str, ...]) -> None:
    """Make these packages look as if they were not installed."""
    find_spec = PathFinder.find_spec

    def find_others(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return None if name in names else find_spec(name, path, target)

    PathFinder.find_spec = find_others  # type: ignore[method-assign]


if any("llm_vision.runtime.child" in argument for argument in sys.orig_argv):
    hide(OF_TESTS_ONLY)
if "HF_TEST_EGRESS" in os.environ:
    sys.addaudithook(watch)
if "HF_TEST_BREAK_DECODERS" in os.environ and any("decoders.child" in argument for argument in sys.orig_argv):
    os._exit(3)
