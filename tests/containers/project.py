"""A copy of what a user has after `git clone`, and the commands that they type there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from containers.engine import Engine, Failed, run
from fixtures.live import free_port

ROOT = Path(__file__).parents[2]
SERVICE = "llm-vision"
USER = 1000
VOLUMES = ("llava_models", "mangaocr_models")
IMAGE = "llm-vision:test"
OVERRIDE = f"""
services:
  llm-vision:
    image: {IMAGE}
    build:
      network: host
"""
"""A name that is nobody's; and builds have no other way to a package index where the engine makes no network."""


def compose_command() -> list[str]:
    """Compose 2 where it is installed, else 1.29."""
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    return ["docker", "compose"] if found else ["docker-compose"]


class Project:
    """The folder of docker-compose.yml.

    Args:
        engine: where containers run.
        folder: an empty folder.
        settings: for the file .env.
    """

    def __init__(self, engine: Engine, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.engine = engine
        self.folder = folder
        self.port = free_port()
        self.name = folder.name
        self._compose = [*compose_command(), "--project-name", self.name]
        for name in ("docker-compose.yml", "docker-compose.gpu.yml"):
            shutil.copy(ROOT / name, folder)
        (folder / "docker-compose.override.yml").write_text(OVERRIDE)
        shutil.copytree(ROOT / "llm-vision", folder / "llm-vision", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        for name in VOLUMES:
            self.volume(name).mkdir(parents=True)
            os.chown(self.volume(name), USER, USER)
        self._settings: dict[str, str] = {}
        self.set({"VISION_PORT": str(self.port), "HF_HUB_OFFLINE": "1", **(settings or {})})

    def set(self, settings: Mapping[str, str]) -> None:
        """Write the file .env anew, with these settings and those that are there."""
        self._settings |= settings
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in self._settings.items()))

    def volume(self, name: str) -> Path:
        return self.folder / "data" / name

    def put(self, weights: Path, volume: str, name: str) -> Path:
        """Weights onto a volume, as its user."""
        place = Path(shutil.copytree(weights, self.volume(volume) / name))
        for path in (place, *place.parents[: len(Path(name).parts) - 1], *place.rglob("*")):
            os.chown(path, USER, USER)
        return place

    def compose(self, *arguments: str) -> str:
        return run([*self._compose, *arguments], self.engine.environment, self.folder)

    def start(self) -> None:
        """Start the service, and wait until it is ready."""
        self.compose("up", "--detach", "--no-build")
        self.wait_ready()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def container(self) -> str:
        """The id of the service's container."""
        return self.compose("ps", "-q", SERVICE).strip()

    def state(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", self.container))
        return found[0]

    def execute(self, *command: str, user: str = "") -> str:
        """Run a command in the service's container.

        Raises:
            Failed: its exit status is not 0.
        """
        return self.engine.docker("exec", *(["--user", user] if user else []), self.container, *command)

    def logs(self) -> str:
        done = subprocess.run(
            ["docker", "logs", self.container], env=self.engine.environment, capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until /readyz says 200."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            try:
                if httpx2.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        raise Failed(f"not ready after {seconds} s:\n{self.logs()}")

    def wait_healthy(self, seconds: float = 90) -> None:
        """Wait until the engine's own check is satisfied."""
        ends = time.monotonic() + seconds
        while self.state()["State"]["Health"]["Status"] != "healthy":
            if time.monotonic() > ends:
                raise Failed(f"not healthy: {self.state()['State']}")
            time.sleep(0.5)

    def down(self) -> None:
        self.compose("down", "--volumes", "--timeout", "40")
