"""Starts the service, sends a manga page, a bubble and a photo over HTTP, checks the answers, stops the service.

Exits with 0 only when the answers are correct within the limits below.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

import httpx2

PICTURES = Path(__file__).parent / "pictures"
PHOTO = PICTURES / "coffee.jpg"  # by Rachel Michetti, CC0
PHOTO_SHOWS = ("espresso", "coffee", "cup")
MOST_BUBBLE_ERRORS = 0.05  # wrong characters, as a share of the ground truth's
MOST_PAGE_ERRORS = 0.10  # the same, for each bubble of the page in reading order
START_SECONDS = 60


def main() -> int:
    print("Starting LLM Vision; the first answers take a few seconds, while its models load.")
    with running() as client:
        checks = [_read_bubble(client), _read_page(client), _ask_about_photo(client)]
    print("\nThe service has stopped. `make run` starts it for good.")
    return 0 if all(checks) else 1


@contextmanager
def running() -> Iterator[httpx2.Client]:
    """A service that downloads nothing, for as long as the context lasts."""
    port = _free_port()
    service = subprocess.Popen(
        [sys.executable, "-m", "llm_vision.cli.main", "serve", "--port", str(port)],
        env={**os.environ, "VISION_LOG_LEVEL": "ERROR", "VISION_DOWNLOAD": "never"},
    )
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            _wait_until_ready(client, service)
            yield client
    finally:
        service.terminate()
        status = service.wait(60)
    if status:
        raise SystemExit(f"the service stopped with status {status}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(client: httpx2.Client, service: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and service.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise SystemExit("the service did not become ready; its log is above")


def _post(client: httpx2.Client, route: str, picture: Path, **fields: str) -> dict:
    print(f"\nPOST {route}  {picture.name}  {fields or ''}")
    answer = client.post(route, files={"file": picture.read_bytes()}, data=fields)
    answer.raise_for_status()
    if answer.headers["content-type"].startswith("text/plain"):
        print(answer.text)
        return {"text": answer.text}
    body: dict = answer.json()
    print(json.dumps(body, ensure_ascii=False, indent=2))
    return body


def _read_bubble(client: httpx2.Client) -> bool:
    truth = json.loads((PICTURES / "bubble.json").read_text())["text"]
    text = _post(client, "/ocr", PICTURES / "bubble.png")["text"]
    return _report(f"the bubble reads {truth}", _measure_errors(text, truth), MOST_BUBBLE_ERRORS)


def _read_page(client: httpx2.Client) -> bool:
    page = _post(client, "/ocr/page", PICTURES / "page.png", format="text")
    wanted = [bubble["text"] for bubble in json.loads((PICTURES / "page.json").read_text())["bubbles"]]
    found = page["text"].splitlines()
    return all([_is_right(number, *pair) for number, pair in enumerate(zip_longest(found, wanted, fillvalue=""), 1)])


def _is_right(number: int, text: str, truth: str) -> bool:
    return _report(f"bubble {number} reads {truth}", _measure_errors(text, truth), MOST_PAGE_ERRORS)


def _measure_errors(text: str, truth: str) -> float:
    """The share of characters that differ."""
    return 1 - SequenceMatcher(None, text, truth, autojunk=False).ratio()


def _ask_about_photo(client: httpx2.Client) -> bool:
    analysis = _post(client, "/analyze_image", PHOTO, prompt="What's in this image?")["analysis"]
    is_named = any(name in analysis.lower() for name in PHOTO_SHOWS)
    return _report(f"the answer names the photo's subject ({' or '.join(PHOTO_SHOWS)})", 0.0 if is_named else 1.0, 0.0)


def _report(what: str, errors: float, most: float) -> bool:
    is_right = errors <= most
    print(f"  {'ok   ' if is_right else 'WRONG'} {what}: {errors:.0%} errors (limit {most:.0%})")
    return is_right


if __name__ == "__main__":
    sys.exit(main())
