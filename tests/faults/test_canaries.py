"""Promise 4 of docs/reliability.md: nobody on this machine is ever asked for a picture, however a URL is written."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest

from fixtures import bad_urls
from fixtures.chat_requests import OPENAI, body_with_url
from fixtures.live import LiveServer, Start
from fixtures.remote_pictures import SENDS_ON, Remote

TRUSTED = "127.0.0.7"
"""Where the server that sends on to other places runs; it alone may be asked."""
REFUSALS = {"url_not_allowed", "invalid_url", "url_scheme_not_allowed"}


class Canary:
    """Listens on every address of this machine, and counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self._socket = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor, _ = self._socket.accept()
                self.visits += 1
                visitor.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    found = Canary()
    yield found
    found.close()


@pytest.fixture(scope="module")
def open_server(start_module_server: Start) -> LiveServer:
    """A server that may ask every public host, and one private address."""
    settings = {
        "VISION_URL_HOSTS": f"*,{TRUSTED}",
        "VISION_URL_HTTP": "true",
        "VISION_URL_PRIVATE": "true",
        "VISION_URL_REDIRECTS": "3",
        "HF_TEST_ANY_PORT": "1",  # else the canary's port alone would be refused
    }
    return start_module_server(settings)


def on_ocr(server: LiveServer, url: str) -> httpx2.Response:
    return server.client.get("/ocr", params={"url": url})


def in_chat(server: LiveServer, url: str) -> httpx2.Response:
    return server.client.post(OPENAI, json=body_with_url(url))


on_both = pytest.mark.parametrize("ask", [on_ocr, in_chat])


def refusal(answer: httpx2.Response, url: str) -> str:
    assert answer.status_code == 422, (url, answer.text)
    assert answer.json()["code"] in REFUSALS, (url, answer.text)
    return str(answer.json()["detail"])


@on_both
def test_promise_04_no_url_leads_to_this_machine(open_server: LiveServer, canary: Canary, ask) -> None:  # type: ignore[no-untyped-def]
    urls = [*bad_urls.of_this_machine(canary.port), *bad_urls.AMBIGUOUS, *filter(None, bad_urls.OTHER_SCHEMES)]
    urls = [url for url in urls if not url.startswith("data:")]  # it is fetched from nowhere
    assert len(urls) >= 120
    for url in urls:
        refusal(ask(open_server, url), url)
    assert canary.visits == 0


@on_both
def test_promise_04_no_redirect_leads_to_this_machine(open_server: LiveServer, canary: Canary, ask) -> None:  # type: ignore[no-untyped-def]
    with Remote(TRUSTED) as remote:
        for target in bad_urls.of_this_machine(canary.port):
            if target.isascii():
                url = remote.url(SENDS_ON + quote(target, safe=""))
                refusal(ask(open_server, url), target)
                refusal(ask(open_server, remote.url(SENDS_ON + quote(url, safe=""))), target)
        assert len(remote.asked) >= 3 * 100
    assert canary.visits == 0


@on_both
def test_promise_04_the_canary_is_heard_when_it_is_asked(open_server: LiveServer, canary: Canary, ask) -> None:  # type: ignore[no-untyped-def]
    before = canary.visits
    answer = ask(open_server, f"http://{TRUSTED}:{canary.port}/a.png")
    assert answer.json()["code"] in ("image_fetch_failed", "image_upstream_error")
    assert canary.visits == before + 1
    canary.visits = 0
