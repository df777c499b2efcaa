"""A Docker engine: the one that runs, or one of our own for the time of the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60


class Failed(AssertionError):
    """A command that should have worked; the text is its output."""


def environment(host: str) -> dict[str, str]:
    """That of a user's shell: without what the tests set for Python, and what Compose would pass on."""
    left_out = ("PYTHON", "HF_", "VISION_", "SSL_CERT_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return {
        **inherited,
        **({"DOCKER_HOST": host} if host else {}),
        **({} if _has_buildkit() else {"DOCKER_BUILDKIT": "0"}),
    }


def _has_buildkit() -> bool:
    return subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0


class Engine:
    """The command `docker` on an engine."""

    def __init__(self, host: str = "") -> None:
        self.environment = environment(host)

    def answers(self) -> bool:
        return (
            subprocess.run(["docker", "info"], env=self.environment, capture_output=True, check=False).returncode == 0
        )

    def docker(self, *arguments: str) -> str:
        """What a command prints.

        Raises:
            Failed: its exit status is not 0.
        """
        return run(["docker", *arguments], self.environment)


def run(command: Sequence[str], env: dict[str, str], folder: Path | None = None) -> str:
    """The standard output of a command.

    Raises:
        Failed: its exit status is not 0.
    """
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


@contextmanager
def running() -> Iterator[Engine]:
    """The engine of this machine, else one that is started for the tests; that needs root.

    Raises:
        Failed: it does not start.
    """
    engine = Engine()
    if engine.answers():
        yield engine
        return
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    process = _start(folder)
    try:
        yield _ready(Engine(f"unix://{folder}/docker.sock"), folder)
    finally:
        os.kill(process, signal.SIGTERM)
        _wait_for_end(process)
        _unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> int:
    """Start an engine, as nobody's child, so that it is not taken for a process of a test; its process id."""
    options = [
        "--iptables=false",  # ports are published by Docker's own proxy then
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--host=unix://{folder}/docker.sock",
        f"--pidfile={folder}/pid",
    ]
    with (folder / "log").open("w") as log:
        subprocess.run(["setsid", "--fork", "dockerd", *options], stdout=log, stderr=log, check=True)
    _until((folder / "pid").exists, folder)
    return int((folder / "pid").read_text())


def _ready(engine: Engine, folder: Path) -> Engine:
    _until(engine.answers, folder)
    return engine


def _until(condition: Callable[[], bool], folder: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > ends:
            raise Failed(f"the engine did not start:\n{(folder / 'log').read_text()[-4000:]}")
        time.sleep(0.2)


def _unmount(folder: Path) -> None:
    """What an engine leaves mounted when it ends: namespaces of networks."""
    for line in Path("/proc/mounts").read_text().splitlines():
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=True)


def _wait_for_end(process: int) -> None:
    for _ in range(150):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
