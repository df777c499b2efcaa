"""The real service in a process of its own, run by the project's Python: the clients have another one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from fixtures.tiny_models import LLAVA, LLAVA_ID, LLAVA_NEXT, LLAVA_NEXT_ID

TESTS = Path(__file__).resolve().parent.parent
SERVICE = Path(os.environ.get("LLM_VISION", TESTS.parent / ".venv" / "bin" / "llm-vision"))
MODEL, CALLING_MODEL = LLAVA_ID, LLAVA_NEXT_ID
"""The tiny one that also calls tools well; the other one was trained on shorter prompts and loses its way."""
START_PATIENCE = 60.0


@dataclass(frozen=True)
class Service:
    """Where it listens, and what it has printed."""

    url: str
    log_path: Path

    @property
    def openai_url(self) -> str:
        """What OpenAI's clients call the base URL."""
        return f"{self.url}/v1"

    def models(self) -> dict[str, dict]:
        """What `/models` tells, by id."""
        return {model["id"]: model for model in httpx2.get(f"{self.url}/models").json()["models"]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(volume: Path, hub: str | None) -> dict[str, str]:
    """Our own settings alone: those of whoever runs the tests stay outside."""
    foreign = ("VISION_", "LLAVA_", "HF_", "MANGAOCR_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    ours = {"TRANSFORMERS_CACHE": str(volume), "LLAVA_MODEL_ID": MODEL, "HF_HUB_OFFLINE": "1"}
    ours |= {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"} if hub else {}
    return {**inherited, **ours, "MANGAOCR_MODEL_PATH": str(volume / "none")}


@contextmanager
def running(folder: Path, hub: str | None = None) -> Iterator[Service]:
    """The service with the tiny trained models on its volume, or with a hub to get them from, until the block ends."""
    volume, log_path = folder / "volume", folder / "service.log"
    volume.mkdir()
    if hub is None:
        shutil.copytree(LLAVA, volume / MODEL)
        shutil.copytree(LLAVA_NEXT, volume / CALLING_MODEL)
    port = _free_port()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [SERVICE, "serve", "--port", str(port)], cwd=folder, env=_environment(volume, hub), stdout=log, stderr=log
        )
    service = Service(f"http://127.0.0.1:{port}", log_path)
    try:
        _wait_until_live(service, process)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_until_live(service: Service, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_PATIENCE
    while time.monotonic() < ends and process.poll() is None:
        try:
            if httpx2.get(f"{service.url}/livez").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"the service did not start:\n{service.log_path.read_text()}")
