"""Runs at the start of every Python process of the tests: none of them may reach beyond this machine (promise 39).

`PYTHONPATH` leads here, so servers, workers and decoders have it too. A try is written to a file and fails.
Also where a test breaks the start of decoder processes.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any


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


if "HF_TEST_EGRESS" in os.environ:
    sys.addaudithook(watch)
if "HF_TEST_BREAK_DECODERS" in os.environ and any("decoders.child" in argument for argument in sys.orig_argv):
    os._exit(3)
