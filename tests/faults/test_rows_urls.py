"""Rows 67 to 76 of docs/reliability.md: pictures by URL, against a real server on this machine and made-up names."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from urllib.parse import quote

import pytest
from PIL import Image

from fixtures import bad_urls
from fixtures.chat_requests import OPENAI, URL_PARAM, body_with_url, post_chat
from fixtures.costly_answers import COSTLY
from fixtures.counts import some
from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.problems import check, check_on
from fixtures.raw_http import RawAnswer, request, send_raw
from fixtures.remote_pictures import LIMIT, Remote, png
from fixtures.waiting import eventually
from llm_vision.admission.deadlines import Deadlines
from llm_vision.errors import VisionError
from llm_vision.services.pictures.fetching import AT_ONCE, MOST_LOOKUPS, MOST_WAITING, FetchRules, Lookups, UrlPictures
from llm_vision.services.pictures.urls import NOT_ALLOWED, Address, UrlRules, is_public, parse_url


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    with Remote() as started:
        yield started


RULES = UrlRules(frozenset({"pictures.example", "inside.example", "[::1]", "twice.example"}), allows_http=True)
PUBLIC = ip_address("93.184.216.34")


def names(**found: list[str]) -> Callable[[str, int], object]:
    async def resolve(host: str, port: int) -> list[Address]:
        name = host.replace(".", "_")
        if name not in found:
            raise OSError(host)
        return [ip_address(text) for text in found[name]]

    return resolve


async def code_of(pictures: UrlPictures, url: str) -> str:
    with pytest.raises(VisionError) as refused:
        await pictures.fetch(url, "")
    assert url not in refused.value.detail
    return refused.value.code


def on_this_machine(remote: Remote, redirects: int = 3, seconds: float = 0.6, queue_seconds: float = 30) -> UrlPictures:
    """Pictures of `pictures.example`, which is this machine; names that may be private are trusted by name."""
    urls = UrlRules(frozenset({"pictures.example"}), allows_http=True, allows_private=True)

    class There(UrlPictures):
        """On the port of the test's server, whatever the URL says."""

        async def _get(self, url):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            return await super()._get(replace(url, port=remote.port))

    rules = FetchRules(urls, LIMIT, seconds, redirects, queue_seconds=queue_seconds)
    return There(rules, Deadlines(), names(pictures_example=["127.0.0.1"]))  # type: ignore[arg-type]


def test_row_67_pictures_by_url_are_off_until_hosts_are_allowed(server: LiveServer) -> None:
    answer = server.client.get("/ocr", params={"url": "https://example.com/a.png"})
    assert (answer.status_code, answer.json()["code"]) == (403, "url_images_disabled")
    in_chat = post_image_url(server, "https://example.com/a.png")
    check_on(server, OPENAI, in_chat, 403, "url_images_disabled")
    assert in_chat.problem["error"]["param"] == URL_PARAM


@pytest.mark.parametrize("url", bad_urls.OTHER_SCHEMES)
def test_row_68_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(VisionError) as refused:
        parse_url(url, RULES)
    assert refused.value.code == "url_scheme_not_allowed"


def test_row_68_http_only_where_it_is_allowed() -> None:
    with pytest.raises(VisionError) as refused:
        parse_url("http://pictures.example/a.png", UrlRules(frozenset({"pictures.example"})))
    assert refused.value.code == "url_scheme_not_allowed"
    assert parse_url("https://pictures.example/a.png", UrlRules(frozenset({"*"}))).port == 443


@pytest.mark.parametrize("address", bad_urls.PRIVATE_ADDRESSES)
async def test_row_69_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not is_public(ip_address(address))
    pictures = UrlPictures(FetchRules(RULES, LIMIT, 1), Deadlines(), names(pictures_example=[address]))  # type: ignore[arg-type]
    with pytest.raises(VisionError) as refused:
        await pictures.fetch("http://pictures.example/a.png", "")
    assert (refused.value.code, refused.value.detail) == ("url_not_allowed", NOT_ALLOWED)


@pytest.mark.parametrize("host", [*bad_urls.DISGUISED_HOSTS, "other.example"])
def test_row_69_hosts_in_disguise_are_refused_with_one_text(host: str) -> None:
    rules = UrlRules(frozenset({"*"}), allows_http=True)
    hosts = ("localhost", "other.example", "127.0.0.1", "[::1]", "[::ffff:7f00:1]")
    with pytest.raises(VisionError) as refused:
        parse_url(f"http://{host}/a.png", RULES if host in hosts else rules)
    assert (refused.value.code, refused.value.detail) == ("url_not_allowed", NOT_ALLOWED)


def test_row_69_other_ports_only_of_hosts_that_may_be_private() -> None:
    hosts = frozenset({"*", "camera.example"})
    for rules in (UrlRules(hosts), UrlRules(hosts, allows_private=True)):
        assert parse_url("https://pictures.example:80/a.png", rules).port == 80
        with pytest.raises(VisionError) as refused:
            parse_url("https://pictures.example:8443/a.png", rules)
        assert (refused.value.code, refused.value.detail) == ("url_not_allowed", NOT_ALLOWED)
    assert parse_url("https://camera.example:8443/a.png", rules).port == 8443
    with pytest.raises(VisionError):
        parse_url("https://camera.example:8443/a.png", UrlRules(hosts))


@pytest.mark.parametrize("url", bad_urls.AMBIGUOUS)
def test_row_70_urls_that_programs_understand_differently_are_refused(url: str) -> None:
    with pytest.raises(VisionError) as refused:
        parse_url(url, RULES)
    assert refused.value.code == "invalid_url"


@pytest.mark.parametrize("url", ["a" * 3000, "file:" + "a" * 3000, "https://pictures.example/" + "a" * 3000])
def test_row_70_nothing_but_the_length_is_looked_at_in_a_url_that_is_too_long(url: str) -> None:
    with pytest.raises(VisionError) as refused:
        parse_url(url, RULES)
    assert refused.value.code == "invalid_url"


async def test_row_71_one_private_address_among_others_is_enough() -> None:
    both = names(twice_example=[str(PUBLIC), "10.0.0.1"])
    pictures = UrlPictures(FetchRules(RULES, LIMIT, 1), Deadlines(), both)  # type: ignore[arg-type]
    assert await code_of(pictures, "http://twice.example/a.png") == "url_not_allowed"


async def test_row_71_the_address_that_was_checked_is_the_one_that_is_asked(remote: Remote) -> None:
    """A name that points elsewhere a moment later: it is looked up once."""
    lookups = []

    async def resolve(host: str, port: int) -> list[Address]:
        lookups.append(host)
        return [ip_address("127.0.0.1" if len(lookups) == 1 else "10.255.255.1")]

    pictures = on_this_machine(remote)
    pictures._resolve = resolve
    assert bytes(await pictures.fetch("http://pictures.example/good.png", "")) == png()
    assert lookups == ["pictures.example"]
    assert remote.asked[-1] == ("/good.png", f"pictures.example:{remote.port}")


async def test_certificates_are_read_once_and_hold_nobody_up(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = []
    read = ssl.SSLContext.load_verify_locations

    def load_verify_locations(context: ssl.SSLContext, *places: str | None) -> None:
        readers.append(threading.current_thread())
        read(context, *places)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load_verify_locations)
    pictures = on_this_machine(remote)
    for _ in range(2):
        assert bytes(await pictures.fetch("http://pictures.example/to-good", "")) == png()
    assert len(readers) == 1
    assert readers[0] is not threading.current_thread()


@pytest.mark.parametrize(
    ("path", "redirects", "code"),
    [
        ("/to-good", 0, "too_many_redirects"),
        ("/to-itself", 3, "too_many_redirects"),
        ("/to-private", 3, "url_not_allowed"),
        ("/to-file", 3, "url_scheme_not_allowed"),
        ("/around", 2, "too_many_redirects"),
        ("/to-nowhere", 3, "image_fetch_failed"),
    ],
)
async def test_row_72_redirects_are_checked_and_counted(remote: Remote, path: str, redirects: int, code: str) -> None:
    assert await code_of(on_this_machine(remote, redirects), f"http://pictures.example{path}") == code


async def test_row_72_a_redirect_that_is_allowed_is_followed(remote: Remote) -> None:
    assert bytes(await on_this_machine(remote, 1).fetch("http://pictures.example/to-good", "")) == png()


@pytest.mark.parametrize(
    ("path", "code"),
    [("/404", "image_fetch_failed"), ("/401", "image_fetch_failed"), ("/500", "image_upstream_error")],
)
async def test_row_73_what_the_server_answers_is_told(remote: Remote, path: str, code: str) -> None:
    assert await code_of(on_this_machine(remote), f"http://pictures.example{path}") == code


async def test_row_73_an_unknown_name_and_a_closed_port(remote: Remote) -> None:
    urls = UrlRules(frozenset({"*", "here.example"}), allows_http=True, allows_private=True)
    pictures = UrlPictures(FetchRules(urls, LIMIT, 2), Deadlines(), names(here_example=["127.0.0.1"]))  # type: ignore[arg-type]
    assert await code_of(pictures, "http://nobody.example/a.png") == "image_upstream_error"
    assert await code_of(pictures, "http://here.example:1/a.png") == "image_upstream_error"


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port that lets nobody in: those that it has no room for are not answered."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            visitor = sockets.enter_context(socket.socket())
            visitor.setblocking(False)
            visitor.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def test_row_74_a_host_that_lets_nobody_in_is_given_up_before_the_time_for_a_picture_is_over() -> None:
    urls = UrlRules(frozenset({"here.example"}), allows_http=True, allows_private=True)
    rules = FetchRules(urls, LIMIT, seconds=5, connect_seconds=0.2)
    pictures = UrlPictures(rules, Deadlines(), names(here_example=["127.0.0.1"]))  # type: ignore[arg-type]
    with deaf_port() as port:
        assert await code_of(pictures, f"http://here.example:{port}/a.png") == "image_upstream_error"


HUNG_NAMES = """
import runpy, socket, sys, time
known = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: time.sleep(3600) if "hung" in str(host) else known(host, *rest, **more)
sys.argv = sys.argv[3:]
runpy.run_module("fixtures.serve", run_name="__main__")
"""


def test_row_74_names_that_are_never_found_cost_only_their_fetches_and_hold_up_no_stop(start_server: Start) -> None:
    settings = {"VISION_URL_HOSTS": "*", "VISION_URL_SECONDS": "0.5"}
    server = start_server(settings, under=(sys.executable, "-c", HUNG_NAMES))
    hung = {"url": "https://hung.example/a.png"}
    with ThreadPoolExecutor() as threads:
        fetches = [threads.submit(server.client.get, "/ocr", params=hung) for _ in range(AT_ONCE)]
        assert {fetch.result().json()["code"] for fetch in fetches} == {"image_fetch_timeout"}
    assert post_image_url(server, "data:image/png;base64," + PICTURE).status == 200
    assert server.stop() == 0


async def test_row_74_lookups_that_hang_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: is_over.wait() and [(0, 0, 0, "", ("8.8.8.8", 0))])
    lookups = Lookups()
    before = threading.active_count()
    for _ in range(MOST_LOOKUPS + 3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lookups("hung.example", 443), 0.01)
    assert threading.active_count() <= before + MOST_LOOKUPS
    is_over.set()
    assert await lookups("hung.example", 443) == [ip_address("8.8.8.8")]
    eventually(lambda: threading.active_count() <= before)


async def stopped(tasks: list[asyncio.Task[bytearray]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_row_83_who_fetches_little_does_not_wait_behind_who_fetches_much(remote: Remote) -> None:
    pictures = on_this_machine(remote, seconds=1)
    url = "http://pictures.example/silent"
    slow = [asyncio.create_task(pictures.fetch(url, "greedy")) for _ in range(AT_ONCE + MOST_WAITING // 2)]
    await asyncio.sleep(0)
    assert bytes(await pictures.fetch("http://pictures.example/good.png", "polite")) == png()
    assert not slow[-1].done()
    assert slow[0].done()
    await stopped(slow)


async def test_row_83_when_too_many_wait_the_client_that_has_most_of_them_is_refused(remote: Remote) -> None:
    pictures = on_this_machine(remote, seconds=2)
    url = "http://pictures.example/silent"
    slow = [asyncio.create_task(pictures.fetch(url, "greedy")) for _ in range(AT_ONCE + MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(VisionError) as refused:
        await pictures.fetch(url, "greedy")
    assert (refused.value.code, refused.value.retry_after) == ("queue_full", 1)
    assert bytes(await pictures.fetch("http://pictures.example/good.png", "polite")) == png()
    assert slow[-1].done()
    with pytest.raises(VisionError) as displaced:
        slow[-1].result()
    assert displaced.value.code == "queue_full"
    await stopped(slow)
    assert bytes(await pictures.fetch("http://pictures.example/good.png", "greedy")) == png()


async def test_row_83_nobody_waits_for_ever_for_a_place_to_fetch(remote: Remote) -> None:
    pictures = on_this_machine(remote, seconds=3, queue_seconds=0.3)
    url = "http://pictures.example/silent"
    slow = [asyncio.create_task(pictures.fetch(url, f"client {number}")) for number in range(AT_ONCE)]
    await asyncio.sleep(0)
    assert await code_of(pictures, url) == "queue_full"
    await stopped(slow)


async def test_row_83_a_wait_that_is_just_over_can_be_displaced(remote: Remote) -> None:
    """In the moment between its time's end and its leaving, it still has a place that another client may need."""
    pictures = on_this_machine(remote, seconds=10, queue_seconds=1)
    assert bytes(await pictures.fetch("http://pictures.example/good.png", "polite")) == png(), "all is imported"
    loop = asyncio.get_running_loop()
    just_before = loop.time() + 0.75
    url = "http://pictures.example/silent"
    slow = [asyncio.create_task(pictures.fetch(url, "greedy")) for _ in range(AT_ONCE + MOST_WAITING)]

    async def fetch_then() -> None:
        await asyncio.sleep(just_before - loop.time())
        await pictures.fetch(url, "polite")

    polite = asyncio.create_task(fetch_then())
    await asyncio.sleep(0.05)
    time.sleep(1.2)  # noqa: ASYNC251  (so that all of them end in the same round of the event loop)
    with pytest.raises(VisionError) as refused:
        await polite
    assert refused.value.code == "queue_full", "its own wait is over, too: all places to fetch are taken"
    await stopped(slow)


def in_chat(server: LiveServer, url: str, key: str) -> int:
    return server.client.post(OPENAI, json=body_with_url(url), headers={"X-API-Key": key}).status_code


def on_ocr(server: LiveServer, url: str, key: str) -> int:
    return server.client.get("/ocr", params={"url": url}, headers={"X-API-Key": key}).status_code


def on_analyze_image(server: LiveServer, url: str, key: str) -> int:
    return server.client.post(
        "/analyze_image", json={"url": url, "prompt": "kind"}, headers={"X-API-Key": key}
    ).status_code


@pytest.mark.parametrize("ask", some([in_chat, on_ocr, on_analyze_image], 1))
def test_row_83_keys_take_turns_at_fetching(start_server: Start, remote: Remote, ask) -> None:  # type: ignore[no-untyped-def]
    hosts = {"VISION_URL_HOSTS": "127.0.0.1", "VISION_URL_HTTP": "true", "VISION_URL_PRIVATE": "true"}
    server = start_server({**hosts, "VISION_API_KEYS": "greedy,polite", "VISION_URL_SECONDS": "2"})
    asked = len(remote.asked)
    with ThreadPoolExecutor(4 * AT_ONCE) as threads:
        slow = [threads.submit(on_ocr, server, remote.url("/silent"), "greedy") for _ in range(4 * AT_ONCE)]
        eventually(lambda: len(remote.asked) >= asked + AT_ONCE)
        assert ask(server, remote.url("/good.png"), "polite") == 200
        assert {fetch.result() for fetch in slow} == {504}
    paths = [path for path, _ in remote.asked[asked:]]
    assert paths.count("/silent") == 4 * AT_ONCE
    assert paths.index("/good.png") < 3 * AT_ONCE


def test_row_86_a_fetch_is_answered_when_the_service_stops(start_server: Start, remote: Remote) -> None:
    hosts = {"VISION_URL_HOSTS": "127.0.0.1", "VISION_URL_HTTP": "true", "VISION_URL_PRIVATE": "true"}
    server = start_server({**hosts, "VISION_DRAIN_SECONDS": "0.3"})
    asked = len(remote.asked)
    with ThreadPoolExecutor() as threads:
        fetch = threads.submit(server.client.get, "/ocr", params={"url": remote.url("/silent")})
        eventually(lambda: len(remote.asked) > asked)
        server.process.terminate()
        answer = fetch.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")


@pytest.mark.parametrize("path", ["/silent", "/drip", "/dripped-head"])
async def test_row_74_a_server_that_stalls_or_drips_is_given_up(remote: Remote, path: str) -> None:
    assert await code_of(on_this_machine(remote), f"http://pictures.example{path}") == "image_fetch_timeout"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/large", "image_fetch_too_large"),
        ("/endless", "image_fetch_too_large"),
        ("/lying", "image_fetch_failed"),
        ("/gzip", "image_fetch_failed"),
        ("/206", "image_fetch_failed"),
        ("/html", "image_fetch_failed"),
    ],
)
async def test_row_75_only_a_whole_picture_of_the_right_size_counts(remote: Remote, path: str, code: str) -> None:
    assert await code_of(on_this_machine(remote, seconds=5), f"http://pictures.example{path}") == code


@pytest.mark.parametrize("name", COSTLY)
async def test_row_75_what_costs_more_than_a_picture_is_broken_off(remote: Remote, name: str) -> None:
    pictures = on_this_machine(remote, seconds=60)
    assert await code_of(pictures, f"http://pictures.example/costly/{quote(name)}") == "image_fetch_failed"


async def test_row_75_usual_ways_to_send_a_picture_are_fine(remote: Remote) -> None:
    pictures = on_this_machine(remote)
    for path in ("/hinted.png", "/chunked.png"):
        assert await pictures.fetch(f"http://pictures.example{path}", "") == png()


PICTURE = base64.b64encode(picture_bytes(mark=76)).decode()


def post_image(server: LiveServer, image: str) -> RawAnswer:
    body = json.dumps({"image": image, "engine": "faulty"}).encode()
    return send_raw(server.port, request("/ocr", body, headers={"Content-Type": "application/json"}))


def post_image_url(server: LiveServer, url: str) -> RawAnswer:
    return post_chat(server.port, OPENAI, body_with_url(url))


@pytest.mark.parametrize(
    "image", ["data:", "data:image/png;base64", "data:image/png;base64" + PICTURE, "data:," + PICTURE,
              "data:image/png," + PICTURE, "data:image/png;base64,", "data:image/png;base64,***",
              "data:image/png;base64," + PICTURE[:-1], f"data:image/png;base64,{PICTURE}=",
              f"data:image/png;base64,{PICTURE}\n", "data:image/png;base64,%69" + PICTURE[1:],
              "data:text/html;base64," + PICTURE, "data:image/svg+xml;base64," + PICTURE,
              "DATA:IMAGE/SVG+XML;charset=utf-8;BASE64," + PICTURE],
)  # fmt: skip
def test_row_76_malformed_data_uris(server: LiveServer, image: str) -> None:
    answer = post_image(server, image)
    check(answer, 422, "invalid_data_url")
    assert answer.problem["error"]["param"] == "image"
    assert PICTURE[:8].encode() not in answer.body
    in_chat = post_image_url(server, image)
    check_on(server, OPENAI, in_chat, 422, "invalid_data_url")
    assert in_chat.problem["error"]["param"] == URL_PARAM
    assert PICTURE[:8].encode() not in in_chat.body


def test_row_76_svg_is_told_from_other_types(server: LiveServer) -> None:
    assert "SVG" in post_image(server, "data:image/svg+xml;base64," + PICTURE).problem["detail"]


@pytest.mark.parametrize("size", [20 * 1024 * 1024 + 1, 30_000_000])
def test_row_76_a_data_uri_that_is_too_large(server: LiveServer, size: int) -> None:
    image = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()
    check(post_image(server, image), 413, "payload_too_large")
    check_on(server, OPENAI, post_image_url(server, image), 413, "payload_too_large")


@pytest.mark.parametrize(
    "head", ["data:image/png;base64,", "DATA:Image/PNG;Base64,", "data:;base64,", "data:image/jpeg;name=a.jpg;base64,",
             "data:application/octet-stream;base64,", ""],
)  # fmt: skip
def test_row_76_data_uris_that_are_fine(server: LiveServer, head: str) -> None:
    answer = post_image(server, head + PICTURE)
    assert (answer.status, answer.problem["text"]) == (200, "76")
    if head:
        assert post_image_url(server, head + PICTURE).status == 200


def test_row_76_base64_without_a_head_keeps_its_code(server: LiveServer) -> None:
    check(post_image(server, "***"), 422, "invalid_parameter")


def test_mangatan_reads_a_page_by_its_url(start_server: Start, remote: Remote) -> None:
    """As its script asks: GET /ocr?url=, with credentials for the reader's server, which are not passed on."""
    server = start_server({"VISION_URL_HOSTS": "127.0.0.1", "VISION_URL_HTTP": "true", "VISION_URL_PRIVATE": "true"})
    url = remote.url("/good.png")
    answer = server.client.get("/ocr", params={"url": url, "user": "me", "pass": "secret", "context": "page 1"})
    (block,) = answer.json()
    assert block["text"] == "電車に乗り遅れた"
    box = block["tightBoundingBox"]
    width, height = Image.open(io.BytesIO(png())).size
    assert 0 < box["x"] * width < box["x"] * width + box["width"] * width < width
    assert 0 < box["y"] * height < box["y"] * height + box["height"] * height < height
    refused = server.client.get("/ocr", params={"url": f"http://localhost:{remote.port}/good.png"})
    assert (refused.status_code, refused.json()["code"]) == (422, "url_not_allowed")
    assert server.client.get("/ocr").json()["code"] == "url_scheme_not_allowed"
