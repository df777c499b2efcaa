"""Promises 30, 31 and 43: every code is produced by a live server, counted once, logged once, and read by clients."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Callable, Iterator

import pytest

from fixtures import bad_pictures, complex_pictures
from fixtures.chat_requests import OPENAI, body_with_part, chat_body, chat_request
from fixtures.fake_openai import FakeOpenAI, refuses, sends
from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.multipart import CONTENT_TYPE, field, form, part
from fixtures.problems import Counters, check_logged, check_of_registry
from fixtures.raw_http import RawAnswer, connect, read_answer, request, send_raw
from fixtures.remote_pictures import Remote
from fixtures.requests import Asking, analyze_request, model_request, ocr_request, picture_request
from fixtures.tiny_models import LLAVA, LLAVA_ID, copied
from fixtures.waiting import eventually
from llm_vision.errors import registry

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": CONTENT_TYPE}
DEEP = b"[" * 70 + b"]" * 70


def load(body: bytes) -> bytes:
    return request("/models/load", body, headers=JSON)


def get(path: str, **headers: str) -> bytes:
    return request(path, method="GET", headers={name.replace("_", "-"): value for name, value in headers.items()})


LIST_AS_ARGUMENTS = {"type": "function", "function": {"name": "find", "parameters": {"type": "array"}}}
CHAT = {
    "prompt_empty": chat_request(OPENAI, chat_body(OPENAI, " ")),
    "stream_not_found": chat_request(OPENAI, body_with_part({"type": "stream", "stream": {"stream_id": "aaa"}})),
    "invalid_tool_schema": chat_request(OPENAI, chat_body(OPENAI, "Look.", LLAVA_ID, tools=[LIST_AS_ARGUMENTS])),
}
SIMPLE = {
    **CHAT,
    "invalid_host": get("/version", Host="a/b"),
    "http_version_not_supported": b"GET / HTTP/2.0\r\n\r\n",
    "malformed_json": load(b"{"),
    "invalid_encoding": load(b'{"model": "\xff"}'),
    "json_too_deep": load(DEEP),
    "duplicate_key": load(b'{"a": 1, "a": 1}'),
    "malformed_multipart": request("/ocr", b"--x", headers=FORM),
    "multipart_limits": request("/ocr", form(*[field(f"f{n}", b"") for n in range(20)]), headers=FORM),
    "forbidden": request("/models/load", b"{}", headers={**JSON, "Origin": "https://evil.example"}),
    "not_found": get("/nothing"),
    "model_not_found": ocr_request(engine="nothing"),
    "method_not_allowed": get("/ocr/page"),
    "payload_too_large": request("/ocr", headers={"Content-Length": "99000000000", "Content-Type": "image/png"}),
    "image_too_large": picture_request(bad_pictures.row_54()["png"]),
    "uri_too_long": get("/" + "a" * 9000),
    "unsupported_media_type": request("/ocr", b"x", headers={"Content-Type": "text/plain"}),
    "unsupported_encoding": request("/ocr", b"x", headers={"Content-Type": "image/png", "Content-Encoding": "br"}),
    "unsupported_image_format": picture_request(b"text"),
    "invalid_request": load(b"[]"),
    "invalid_parameter": load(b'{"model": 5}'),
    "unknown_parameter": load(b'{"model": "faulty", "modle": 1}'),
    "invalid_text": load(b'{"model": "\\u0000"}'),
    "file_required": request("/ocr", form(field("language", b"ja")), headers=FORM),
    "too_many_files": request("/ocr", form(part(b"x"), part(b"x")), headers=FORM),
    "invalid_image": picture_request(bad_pictures.row_52()["bad_zlib"]),
    "image_too_complex": picture_request(complex_pictures.TOO_COMPLEX["jpeg_scans"]),
    "image_bad_dimensions": picture_request(bad_pictures.row_57()["wide"]),
    "image_too_small": picture_request(bad_pictures.row_58()["one"]),
    "prompt_too_long": request("/analyze_image", form(part(b"x"), field("prompt", b"x" * 20_000)), headers=FORM),
    "context_length_exceeded": analyze_request("long", "far"),
    "upstream_rejected": analyze_request("wrong key", "far"),
    "upstream_invalid": analyze_request("no answer", "far"),
    "upstream_unavailable": analyze_request("failing", "far"),
    "unsupported_language": ocr_request(language="tlh"),
    "unsupported_task": ocr_request(engine="second"),
    "headers_too_large": get("/livez", X_Long="y" * 70_000),
    "inference_failed": ocr_request("raise"),
    "model_load_failed": ocr_request(engine="broken-load"),
    "insufficient_memory": ocr_request("out_of_memory"),
    "worker_crashed": ocr_request("kill"),
    "deadline_exceeded": ocr_request("hang"),
    "request_timeout": request("/ocr", headers={"Content-Type": "image/png", "Content-Length": "9"}) + b"x",
    "model_loading": ocr_request(engine="slow-to-load"),
    "invalid_data_url": request("/ocr", b'{"image": "data:image/png;base64"}', headers=JSON),
    "url_images_disabled": get("/ocr?url=https://example.com/a.png"),
    "weights_not_downloaded": model_request("delete", "faulty"),
}
PLANS = {
    "long": refuses(400, b'{"error": {"code": "context_length_exceeded"}}'),
    "wrong key": refuses(401),
    "no answer": sends(b"data: {\n\n"),
    "failing": refuses(500),
}
SETTINGS = {"VISION_OCR_SECONDS": "1", "VISION_BODY_SECONDS": "1"}


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, start_module_server: Start) -> Iterator[LiveServer]:
    """A server with short deadlines, whose faulty model is loaded, and another server behind it."""
    with FakeOpenAI(PLANS) as far:  # type: ignore[arg-type]
        weights = {"TRANSFORMERS_CACHE": str(copied(LLAVA, tmp_path_factory.mktemp("volume")))}
        started = start_module_server({**SETTINGS, **weights, "VISION_UPSTREAMS": f"far={far.url}#model"})
        started.ocr()
        yield started


@pytest.mark.parametrize("code", SIMPLE)
def test_promises_30_and_43_each_fault_has_its_code_counter_and_log_line(hasty: LiveServer, code: str) -> None:
    refused(hasty, code, lambda: send_raw(hasty.port, SIMPLE[code]))


def refused(server: LiveServer, code: str, ask: Callable[[], RawAnswer]) -> None:
    """Asking leads to the answer, the counter and the line of a code, each once."""
    counters = Counters(server)
    answer = ask()
    check_of_registry(answer, code, "application/json" if code in CHAT else "application/problem+json")
    check_logged(server, code, answer.problem["request_id"])
    counters.check_raised(code)


def test_promises_30_and_43_malformed_http(hasty: LiveServer) -> None:
    refused(hasty, "malformed_http", lambda: send_raw(hasty.port, b"nonsense\r\n\r\n"))


def test_promises_30_and_43_keys(start_server: Start) -> None:
    small = {"VISION_OCR_ENGINE": "rapidocr", "VISION_MEMORY_LIMIT_MB": "64", "HF_HUB_OFFLINE": "0"}
    server = start_server({"VISION_API_KEYS": "user", "VISION_ADMIN_KEYS": "chief", **small})
    server.client.headers["X-API-Key"] = "user"
    refused(server, "missing_credentials", lambda: send_raw(server.port, get("/version")))
    refused(server, "invalid_credentials", lambda: send_raw(server.port, get("/version", X_API_Key="no")))
    refused(server, "model_not_ready", lambda: send_raw(server.port, ocr_request(engine="manga-ocr", key="user")))
    refused(server, "model_too_large", lambda: send_raw(server.port, ocr_request(engine="manga-ocr", key="chief")))
    assert "user" not in re.sub(r"/\S*", "", server.log)


def test_promises_30_and_43_full_queue_and_displaced(start_server: Start) -> None:
    server = start_server({"VISION_QUEUE_SIZE": "1", "VISION_API_KEYS": "greedy,polite"})
    server.client.headers["X-API-Key"] = "polite"
    greedy = [Asking(server.port, ocr_request("wait_for", "one-by-one", key="greedy")) for _ in range(2)]
    eventually(lambda: server.journal_has("started"))
    eventually(lambda: server.in_use("one-by-one") == 2)
    refused(server, "queue_full", lambda: send_raw(server.port, ocr_request(engine="one-by-one", key="greedy")))
    polite: list[Asking] = []

    def displace() -> RawAnswer:
        polite.append(Asking(server.port, ocr_request("wait_for", "one-by-one", key="polite")))
        eventually(lambda: any(asked.is_answered for asked in greedy))
        return next(asked.answer for asked in greedy if asked.is_answered)

    refused(server, "rate_limited", displace)
    server.go()
    assert polite[0].answer.status == 200
    assert sorted(asked.answer.status for asked in greedy) == [200, 429]


def test_promises_30_and_43_model_in_use_full_disk_and_shutdown(start_server: Start) -> None:
    server = start_server()
    running = Asking(server.port, ocr_request("wait_for"))
    eventually(lambda: server.journal_has("started"))
    refused(server, "model_in_use", lambda: send_raw(server.port, model_request("unload", "faulty")))
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (900_000, resource.RLIM_INFINITY))
    large = picture_request(b"\x89PNG" + bytes(3_000_000))
    refused(server, "storage_full", lambda: send_raw(server.port, large))
    with connect(server.port) as kept:
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: send_raw(server.port, get("/readyz"), method="GET").status == 503)
        kept.sendall(get("/version"))
        answer = read_answer(kept, "GET")
    check_of_registry(answer, "shutting_down")
    check_logged(server, "shutting_down", answer.problem["request_id"])  # its counter: nobody is shown metrics now
    server.go()
    assert running.answer.status == 200


def test_promises_30_and_43_client_closed(hasty: LiveServer) -> None:
    counters = Counters(hasty)
    with connect(hasty.port) as sock:
        sock.sendall(ocr_request().replace(b"Host:", b"X-Request-Id: has-left\r\nHost:", 1)[:200])
    check_logged(hasty, "client_closed", "has-left")
    counters.check_raised("client_closed")


def test_promises_30_and_43_no_time_on_a_busy_machine(start_server: Start) -> None:
    server = start_server(SETTINGS)
    server.ocr()
    for decoder in server.children("decoders.child"):
        decoder.send_signal(signal.SIGSTOP)
    refused(server, "machine_busy", lambda: send_raw(server.port, picture_request(picture_bytes())))


def test_promises_30_and_43_an_error_of_ours_is_told_without_its_cause(start_server: Start) -> None:
    """No client can bring it about: decoders that do not start stand for what goes wrong on our side."""
    server = start_server({"HF_TEST_BREAK_DECODERS": "1"})
    refused(server, "internal_error", lambda: send_raw(server.port, picture_request(picture_bytes())))


URLS = {
    "url_scheme_not_allowed": "ftp://127.0.0.1/a.png",
    "invalid_url": "http://user@127.0.0.1/a.png",
    "url_not_allowed": "http://10.0.0.1/a.png",
    "too_many_redirects": "/around",
    "image_fetch_failed": "/404",
    "image_fetch_too_large": "/large",
    "image_upstream_error": "/500",
    "image_fetch_timeout": "/silent",
}


def test_promises_30_and_43_pictures_by_url(start_server: Start) -> None:
    settings = {"VISION_URL_HOSTS": "127.0.0.1", "VISION_URL_HTTP": "true", "VISION_URL_PRIVATE": "true"}
    server = start_server({**settings, "VISION_URL_SECONDS": "0.5", "VISION_MAX_FILE_MB": "0.1"})
    with Remote() as remote:
        for code, target in URLS.items():
            url = remote.url(target) if target.startswith("/") else target
            refused(server, code, lambda url=url: send_raw(server.port, get(f"/ocr?url={url}"), method="GET"))


def test_promise_30_no_code_is_forgotten() -> None:
    elsewhere = {
        "malformed_http", "missing_credentials", "invalid_credentials", "queue_full", "rate_limited", "model_in_use",
        "storage_full", "shutting_down", "client_closed", "internal_error", "machine_busy", "model_not_ready",
        "model_too_large",
    }  # fmt: skip
    assert SIMPLE.keys() | URLS.keys() | elsewhere == registry().keys()
    assert not (SIMPLE.keys() | URLS.keys()) & elsewhere


SECRETS = re.compile(r"sesame|iVBORw0|\\x89PNG")


def test_promise_31_keys_and_pictures_are_not_in_the_log(start_server: Start) -> None:
    server = start_server({"VISION_API_KEYS": "sesame", "VISION_LOG_LEVEL": "DEBUG", **SETTINGS})
    for data in [ocr_request(key="sesame"), ocr_request("raise", key="sesame"), *SIMPLE.values()]:
        send_raw(server.port, data.replace(b"Host:", b"X-API-Key: sesame\r\nHost:", 1))
    assert server.log.count("POST") > 20
    assert not SECRETS.search(server.log)
