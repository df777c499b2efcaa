"""Two judges: llm-comply knows OpenAI's specification, Schemathesis takes our own at its word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2

from compat.live import CALLING_MODEL, Service

HERE = Path(__file__).resolve().parent
COMMANDS = Path(sys.executable).parent
REASONING = "chat-reasoning-summary"
LONGEST = 900


def test_llm_comply_finds_nothing_wrong(service: Service) -> None:
    command = [COMMANDS / "llm-comply", "--format", "openai-chat", "--json"]
    target = ["--base-url", service.openai_url, "--api-key", "unused", "--model", CALLING_MODEL]
    done = subprocess.run([*command, *target], capture_output=True, text=True, timeout=120, check=False)
    results = {result["id"]: result for result in json.loads(done.stdout)["results"]}
    wrong = [result for result in results.values() if result["status"] == "failed" or result.get("warnings")]
    assert not wrong, json.dumps(wrong, indent=1)
    assert {name for name, result in results.items() if result["status"] == "skipped"} <= {REASONING}
    assert len(results) >= 9


def test_no_answer_is_undeclared(own_service: Service, tmp_path: Path) -> None:
    command = [COMMANDS / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", "--no-color"]
    done = subprocess.run(
        [*command, f"{own_service.url}/openapi.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = httpx2.get(f"{own_service.url}/metrics").text.splitlines()
    assert not [line for line in answers if line.startswith("llm_vision_requests_total") and 'status="500"' in line]
    assert [line for line in answers if 'route="/v1/chat/completions",status="200"' in line], "it came to the model"
    assert "Traceback" not in own_service.log_path.read_text()
