"""Starts the real service for a benchmark and stops it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(port: int, settings: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the service with its defaults and the given settings, using existing weights."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VISION_")}
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("llm-vision")), "serve", "--port", str(port)],
        env={**environment, "VISION_LOG_LEVEL": "WARNING", "VISION_DOWNLOAD": "never", **(settings or {})},
    )


def wait_until_ready(client: httpx2.Client, service: subprocess.Popen[bytes]) -> None:
    """Poll /readyz until it answers 200."""
    while service.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.005)
    raise RuntimeError("the service ended before it was ready")


@contextmanager
def running(settings: Mapping[str, str] | None = None) -> Iterator[tuple[httpx2.Client, subprocess.Popen[bytes]]]:
    """A ready service and a client of it."""
    port = free_port()
    service = start(port, settings)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            wait_until_ready(client, service)
            yield client, service
    finally:
        service.terminate()
        service.wait(60)
