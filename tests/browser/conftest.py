"""A running service and Chromium, which must be installed: CHROMIUM names it where it is called otherwise."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PYTHON = Path(__file__).parents[2] / ".venv" / "bin" / "python"
NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_SECONDS = 60

Start = Callable[[Mapping[str, str]], str]
"""Starts a service with settings; its address."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert chromium, "install Chromium, or set CHROMIUM to its path"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])  # root has no sandbox


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 1600}) as context:
        yield context.new_page()


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def start(settings: Mapping[str, str]) -> str:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", **settings}
            command = [PYTHON, "-m", "llm_vision.cli.main", "serve", "--port", str(port)]
            process = stack.enter_context(subprocess.Popen(command, env=environment, cwd=tmp_path))
            stack.callback(process.terminate)
            address = f"http://127.0.0.1:{port}"
            _wait_until_live(address)
            return address

        yield start


def _wait_until_live(address: str) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/livez"):
                return
        except OSError:
            assert time.monotonic() < ends, "the service did not start"
            time.sleep(0.1)
