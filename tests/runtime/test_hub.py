"""What a hub says and sends is checked before it is used, and bounded by what it announced."""

from __future__ import annotations

import gzip
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fixtures.fake_hub import COMMIT, Hub
from llm_vision.models.base import UnusableWeights
from llm_vision.runtime.downloads import hub as hubs
from llm_vision.runtime.downloads.fetching import Fetching
from llm_vision.runtime.downloads.listing import HubFile, read_listing
from llm_vision.runtime.weights.place import DownloadPlace

REPO = "owner/name"
SHA1, SHA256 = "0" * 40, "0" * 64
SMALL = {"rfilename": "config.json", "size": 300, "blobId": SHA1}
LARGE = {"rfilename": "model.safetensors", "size": 5, "blobId": SHA1, "lfs": {"size": 5, "sha256": SHA256}}


def listing(*siblings: Any, sha: Any = COMMIT) -> bytes:
    return json.dumps({"id": REPO, "sha": sha, "siblings": siblings}).encode()


def small(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def large(**changes: Any) -> dict[str, Any]:
    return {**LARGE, "lfs": {**LARGE["lfs"], **changes}}  # type: ignore[dict-item]


WRONG = {
    "no JSON": b"<html>",
    "nothing": b"",
    "a list": b"[]",
    "deep JSON": b'{"siblings":' + b"[" * 100_000,
    "no commit": json.dumps({"siblings": []}).encode(),
    "a commit that is a branch": listing(sha="main"),
    "a commit that is a path": listing(sha="../" * 13 + "x"),
    "a commit with a line end": listing(sha=COMMIT + "\n"),
    "a commit that is a number": listing(sha=5),
    "siblings as an object": json.dumps({"sha": COMMIT, "siblings": {}}).encode(),
    "a sibling that is text": listing("config.json"),
    "a size below 0": listing(small(size=-1)),
    "a size of 2^70": listing(large(size=2**70)),
    "a size as text": listing(small(size="300")),
    "half a byte": listing(small(size=300.5)),
    "a size that is true": listing(small(size=True)),
    "a checksum that is a path": listing(large(sha256="../../../../tmp/x")),
    "a checksum that is absolute": listing(small(blobId="/tmp/x")),
    "a checksum with NUL": listing(small(blobId="\0" * 40)),
    "a checksum in capitals": listing(large(sha256="A" * 64)),
    "a checksum that is too short": listing(large(sha256="0" * 63)),
    "a checksum that is a number": listing(large(sha256=10**63)),
    "lfs as a list": listing({**LARGE, "lfs": []}),
    "lfs without a size": listing({**LARGE, "lfs": {"sha256": SHA256}}),
    "a file twice": listing(SMALL, SMALL),
    "two files that some volumes take for one": listing(LARGE, {**LARGE, "rfilename": "MODEL.safetensors"}),
    "a config of 540 MB": listing(small(size=540_000_000)),
    "more files than any model has": listing(*({**LARGE, "rfilename": f"model-{n}.safetensors"} for n in range(1001))),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_listing_that_cannot_be_is_refused(case: str) -> None:
    with pytest.raises(UnusableWeights, match="the hub lists"):
        read_listing(WRONG[case])


NAMES = (
    "/etc/passwd", "../config.json", "a/config.json", "a\\config.json", "..\\config.json", "config.json\0",
    "config\n.json", "x" * 10_000 + ".safetensors", ".safetensors", "C:config.json", "config.py", "",
    "．．/config.json",
)  # fmt: skip


def test_names_that_no_model_loads_are_left_out_whatever_else_is_said_of_them() -> None:
    others = [{"rfilename": name, "size": "x", "lfs": 5} for name in (*NAMES, None, 5, ["config.json"])]
    found = read_listing(listing(*others, {}, SMALL, LARGE))
    assert found.commit == COMMIT
    assert found.files == (
        HubFile("config.json", 300, None, SHA1),
        HubFile("model.safetensors", 5, SHA256, None),
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(REPO, {"config.json": b"{}" + b" " * 298, "model.safetensors": bytes(300)}) as started:
        constants = hubs.constants
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", started.url)
        template = f"{started.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hubs, "_PAUSE_SECONDS", 0.0)
        monkeypatch.setattr(hubs, "_BUSY_SECONDS", 0.0)
        yield started


def download(volume: Path) -> None:
    place = DownloadPlace(volume, REPO)
    with place.claimed():
        Fetching(place, "main", False, lambda *_: None).run()


def test_a_good_hub_is_understood(hub: Hub, tmp_path: Path) -> None:
    download(tmp_path)
    assert (tmp_path / REPO / "model.safetensors").read_bytes() == bytes(300)


class Endless:
    """An answer whose body has no end; notes when whoever asked has had enough."""

    def __init__(self, status: int, piece: bytes = b" " * 65536, **headers: str) -> None:
        self._status, self._piece, self._headers = status, piece, headers
        self.is_left = threading.Event()

    def __call__(self, exchange: BaseHTTPRequestHandler) -> None:
        exchange.close_connection = True
        exchange.send_response(self._status)
        for name, value in {"Content-Type": "application/json", **self._headers}.items():
            exchange.send_header(name.replace("_", "-"), value)
        exchange.end_headers()
        try:
            for _ in itertools.count():
                exchange.wfile.write(self._piece)
        except OSError:
            self.is_left.set()


@pytest.mark.parametrize(
    "answer",
    [
        Endless(200),
        Endless(404),
        Endless(500, Content_Encoding="gzip"),
        Endless(302, Location="/elsewhere"),
        Endless(302),
        Endless(200, gzip.compress(bytes(10**6)), Content_Encoding="gzip"),
    ],
    ids=["listing", "error", "compressed error", "redirect", "redirect to nowhere", "bomb"],
)
def test_an_answer_without_end_is_left(hub: Hub, answer: Endless) -> None:
    hub.instead = answer
    with pytest.raises(hubs.HubFailed):
        hubs.list_files(REPO, "main")
    assert answer.is_left.wait(60)


def test_a_file_without_end_takes_no_more_room_than_was_announced(hub: Hub, tmp_path: Path) -> None:
    answer = Endless(200)
    hub.instead = answer
    partial = tmp_path / "partial"
    with pytest.raises(hubs.HubFailed, match="more than it announced"):
        hubs.fetch(REPO, COMMIT, HubFile("model.safetensors", 300, SHA256, None), partial)
    assert answer.is_left.wait(60)
    assert partial.stat().st_size <= 300


@pytest.mark.parametrize("error", ["[]", '{"errors": 5}', '{"errors": [5]}', "[" * 5000, "null"])
def test_errors_of_any_shape_are_told_in_our_words(hub: Hub, error: str) -> None:
    hub.instead = answers(400, error.encode())
    with pytest.raises(hubs.HubFailed, match="the hub answers 400"):
        hubs.list_files(REPO, "main")


def answers(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(exchange: BaseHTTPRequestHandler) -> None:
        exchange.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            exchange.send_header(name.replace("_", "-"), value)
        exchange.end_headers()
        exchange.wfile.write(body)

    return answer


def test_a_hub_that_is_busy_for_years_is_asked_again_a_few_times(hub: Hub, tmp_path: Path) -> None:
    asked = []

    def busy(exchange: BaseHTTPRequestHandler) -> None:
        asked.append(exchange.path)
        answers(429, b"", Retry_After="999999999")(exchange)

    hub.instead = busy
    with pytest.raises(hubs.HubFailed, match="the hub answers 429"):
        hubs.fetch(REPO, COMMIT, HubFile("model.safetensors", 300, SHA256, None), tmp_path / "partial")
    assert len(asked) == 5


def test_a_range_that_lies_is_no_file(hub: Hub, tmp_path: Path) -> None:
    lie = answers(206, bytes(150), Content_Range="bytes 0-149/300")
    files = hub.files
    original = hub.instead

    def lying(exchange: BaseHTTPRequestHandler) -> None:
        if "safetensors" in exchange.path:
            lie(exchange)
        else:
            hub.instead = original
            exchange.do_GET()  # type: ignore[attr-defined]
            hub.instead = lying

    files["model.safetensors"] = bytes(150) + b"\1" * 150
    hub.instead = lying
    with pytest.raises((hubs.HubFailed, UnusableWeights)):
        download(tmp_path)
    assert not (tmp_path / REPO).exists()


@pytest.mark.parametrize(("status", "code"), [(302, "leads from https to http"), (200, None), (404, None)])
def test_nothing_leads_from_https_into_the_open(status: int, code: str | None) -> None:
    request = httpx2.Request("GET", "https://hub.example/x")
    response = httpx2.Response(status, headers={"Location": "HTTP://10.0.0.1/x"}, request=request)
    if code is None:
        hubs._check(response)
    else:
        with pytest.raises(hubs.HubFailed, match=code):
            hubs._check(response)
