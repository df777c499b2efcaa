"""Memory that a worker has freed goes back to the system when it has nothing to do."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import psutil
from llm_vision.runtime.processes.idle_memory import give_back
me = psutil.Process()
held = [bytes(60_000) for _ in range(4000)]
last = bytes(60_000)  # keeps the heap from shrinking by itself
del held
before = me.memory_info().rss
give_back()
print(before - me.memory_info().rss)
"""


def test_what_is_free_is_given_back() -> None:
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(answer.stdout) > 150_000_000
