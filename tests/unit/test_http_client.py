"""What other servers send around their answers is bounded for clients of threads too, over kept connections as well."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import pytest

from fixtures.costly_answers import COSTLY
from fixtures.remote_pictures import ELSEWHERE, Remote, png
from llm_vision.http_client import watch

OUR_REASONS = "around the answer|tiny chunks"


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with Remote() as started:
        yield started


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with watch(httpx2.Client(timeout=60, trust_env=False)) as watched:
        yield watched


@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_more_than_an_answer_is_broken_off(remote: Remote, client: httpx2.Client, name: str) -> None:
    with pytest.raises(httpx2.RemoteProtocolError, match=OUR_REASONS):
        client.get(remote.url(f"/costly/{quote(name)}"))


def test_usual_answers_are_fine_one_after_the_other(remote: Remote, client: httpx2.Client) -> None:
    for path in ("/good.png", "/hinted.png", "/chunked.png", "/good.png"):
        assert client.get(remote.url(path)).content == png()


def test_a_kept_connection_is_watched_anew_for_each_answer(client: httpx2.Client) -> None:
    with Remote(keeps=True) as remote:
        for _ in range(300):
            assert client.get(remote.url("/404")).status_code == 404
        with pytest.raises(httpx2.RemoteProtocolError, match=OUR_REASONS):
            client.get(remote.url("/costly/100%20for%20ever"))


def test_a_head_that_drips_is_given_up(remote: Remote) -> None:
    with watch(httpx2.Client(timeout=60, trust_env=False), head_seconds=0.3) as client:
        with pytest.raises(httpx2.ReadTimeout):
            client.get(remote.url("/dripped-head"))
        assert client.get(remote.url("/good.png")).content == png()


def test_proxies_are_watched_as_well(remote: Remote) -> None:
    with watch(httpx2.Client(timeout=60, trust_env=False, proxy=remote.url(""))) as client:
        assert client.get(f"{ELSEWHERE}/good.png").content == png()
        with pytest.raises(httpx2.RemoteProtocolError, match=OUR_REASONS):
            client.get(f"{ELSEWHERE}/costly/100%20for%20ever")


def test_the_hubs_library_is_watched_as_well(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants, get_session

    from llm_vision.runtime.downloads import hub  # noqa: F401  (sets the library's client)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(httpx2.RemoteProtocolError, match=OUR_REASONS):
        get_session().get(remote.url("/costly/100%20for%20ever"))
