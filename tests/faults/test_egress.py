"""Promise 39: nothing reaches beyond this machine. The whole suite runs under the watch; here it is seen to work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TRIES = {
    "connect": "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
    "resolve": "import socket; socket.getaddrinfo('huggingface.example', 443)",
    "send": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
}


@pytest.mark.parametrize("code", TRIES.values(), ids=TRIES)
def test_promise_39_the_watch_sees_every_way_out(tmp_path: Path, code: str) -> None:
    seen = tmp_path / "egress"
    environment = {**os.environ, "HF_TEST_EGRESS": str(seen)}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "PermissionError" in answer.stderr
    assert seen.read_text()


def test_promise_39_child_processes_are_watched() -> None:
    from llm_vision.runtime.processes.process import _environment

    assert {"PYTHONPATH", "HF_TEST_EGRESS", "HF_HUB_OFFLINE"} <= set(_environment({}))
