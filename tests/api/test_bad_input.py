"""What a careless or hostile client sends gets a clear error with a stable code, and the server lives."""

from __future__ import annotations

import json
import re
import zlib

import httpx2
import pytest
from PIL import Image

from fixtures.encoding import saved
from fixtures.live import LiveServer, picture_bytes
from fixtures.waiting import PATIENCE

LEAKS = re.compile(r"0x[0-9a-f]{6,}|/root/|/tmp/|/home/|/work/|/usr/|site-packages|Traceback|\d+\.\d+\.\d+\.\d+")


def assert_problem(answer: httpx2.Response, status: int, code: str) -> None:
    """The one error body, small, without anything internal."""
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:llm-vision:error:{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == f"urn:request:{body['request_id']}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["error"]["code"] == code
    assert body["error"]["message"] == body["detail"]
    assert len(answer.content) <= 4096
    assert not LEAKS.search(answer.text)
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert body["retryable"] == (status in (429, 503))


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def png_header(width: int, height: int) -> bytes:
    """A PNG of 57 bytes without any pixel."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def bomb() -> bytes:
    """20000 x 8900 pixels in about 21 KB."""
    return saved(Image.new("1", (20_000, 8_900)))


PICTURES = {
    "empty": (b"", 415, "unsupported_image_format"),
    "text": (b"this is not a picture", 415, "unsupported_image_format"),
    "html": (b"<html><body>no</body></html>", 415, "unsupported_image_format"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "unsupported_image_format"),
    "pdf": (b"%PDF-1.7\n", 415, "unsupported_image_format"),
    "elf": (b"\x7fELF" + bytes(60), 415, "unsupported_image_format"),
    "zip": (b"PK\x03\x04" + bytes(60), 415, "unsupported_image_format"),
    "zeros": (bytes(100), 415, "unsupported_image_format"),
    "tiff": (b"II*\x00" + bytes(100), 415, "unsupported_image_format"),
    "truncated png": (picture_bytes(size=(300, 300))[:-40], 422, "invalid_image"),
    "truncated jpeg": (picture_bytes(size=(300, 300), kind="JPEG")[:400], 422, "invalid_image"),
    "no pixels": (png_header(100, 100), 422, "invalid_image"),
    "header only": (png_header(100, 100)[:33], 422, "invalid_image"),
    "bad checksum": (picture_bytes().replace(b"IDAT", b"IDAX"), 422, "invalid_image"),
    "40000 x 40000": (png_header(40_000, 40_000), 413, "image_too_large"),
    "bomb": (bomb(), 413, "image_too_large"),
    "65535 x 1": (png_header(65_535, 1), 422, "image_bad_dimensions"),
    "1 x 65535": (png_header(1, 65_535), 422, "image_bad_dimensions"),
    "1000 x 4": (png_header(1000, 4), 422, "image_bad_dimensions"),
    "1 x 1": (picture_bytes(size=(1, 1)), 422, "image_too_small"),
    "2 x 2": (picture_bytes(size=(2, 2)), 422, "image_too_small"),
    "over 20 MiB": (picture_bytes() + bytes(20 * 1024 * 1024), 413, "payload_too_large"),
}


@pytest.mark.parametrize("route", ["/ocr", "/analyze_image"])
@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_good_picture_is_refused(server: LiveServer, route: str, name: str) -> None:
    data, status, code = PICTURES[name]
    fields = {"engine": "faulty"} if route == "/ocr" else {}
    answer = server.client.post(route, files={"file": ("picture.png", data, "image/png")}, data=fields)
    assert_problem(answer, status, code)
    assert server.process.poll() is None


@pytest.mark.parametrize("route", ["/ocr", "/analyze_image"])
def test_a_form_without_a_good_file_part_is_refused(client: httpx2.Client, route: str) -> None:
    picture = picture_bytes()
    assert_problem(client.post(route, files={"other": picture}), 422, "file_required")
    assert_problem(client.post(route, data={"file": "text"}, files={"x": b""}), 422, "file_required")
    two = client.post(route, files=[("file", ("a", picture)), ("file", ("b", picture))])
    assert_problem(two, 422, "too_many_files")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("application/x-www-form-urlencoded", b"file=x", 415, "unsupported_media_type"),
        ("text/plain", b"hello", 415, "unsupported_media_type"),
        ("", b"hello", 415, "unsupported_media_type"),
        ("multipart/form-data", b"hello", 400, "malformed_multipart"),
        (f"multipart/form-data; boundary={'x' * 300}", b"hello", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=x", b"hello", 400, "malformed_multipart"),
        ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\nhello\r\n--x--\r\n", 400, "malformed_multipart"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhel',
            400,
            "malformed_multipart",
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="language"\r\n\r\n\xff\xfe\r\n--x--\r\n',
            422,
            "invalid_text",
        ),
        ("application/json", b"{", 400, "malformed_json"),
        ("application/json", b"[" * 100_000, 400, "json_too_deep"),
        ("application/json", b"[1]", 422, "invalid_request"),
        ("application/json", b"{}", 422, "file_required"),
        ("application/json", b'{"image": "%%%"}', 422, "invalid_parameter"),
        ("application/json", b'{"image": "aGVsbG8=", "language": 5}', 422, "invalid_parameter"),
        ("application/json", b'{"image": "aGVsbG8=", "language": "\\ud800"}', 422, "invalid_text"),
    ],
)
def test_bodies_that_are_no_good(client: httpx2.Client, content_type: str, body: bytes, status: int, code: str) -> None:
    assert_problem(client.post("/ocr", content=body, headers={"Content-Type": content_type}), status, code)


def test_too_many_and_too_large_form_fields_are_refused(client: httpx2.Client) -> None:
    picture = {"file": picture_bytes()}
    many = client.post("/ocr", files=picture, data={f"field{number}": "x" for number in range(1100)})
    assert_problem(many, 400, "multipart_limits")
    large = client.post("/ocr", files=picture, data={"language": "x" * 100_000})
    assert_problem(large, 400, "multipart_limits")


def test_file_names_are_never_used(server: LiveServer) -> None:
    for name in ("../../etc/passwd", "a\x00b", "a\r\nb", "x" * 2_000, "\u202egnp.exe"):
        answer = server.client.post("/ocr", files={"file": (name, picture_bytes(mark=3))}, data={"engine": "faulty"})
        assert answer.json().get("text") == "3", answer.text
    assert "passwd" not in server.log


def test_prompts_have_a_limit_and_no_control_characters(client: httpx2.Client) -> None:
    picture = {"file": picture_bytes(size=(64, 64))}
    long = client.post("/analyze_image", files=picture, data={"prompt": "x" * 16_385})
    assert_problem(long, 422, "prompt_too_long")
    control = client.post("/analyze_image", files=picture, data={"prompt": "a\x00b"})
    assert_problem(control, 422, "invalid_text")


def test_unknown_routes_and_methods(client: httpx2.Client) -> None:
    assert_problem(client.get("/nothing/here"), 404, "not_found")
    assert_problem(client.get("/ocr/page"), 405, "method_not_allowed")
    assert_problem(client.delete("/models"), 405, "method_not_allowed")
    assert_problem(client.get("/docs/../../etc/passwd"), 404, "not_found")
    assert_problem(client.get("/docs/swagger-ui.css.map"), 404, "not_found")


def test_limits_on_urls_headers_and_encodings(client: httpx2.Client) -> None:
    assert_problem(client.get("/version", params={"x": "y" * 9000}), 414, "uri_too_long")
    assert_problem(client.get("/version", headers={f"X-{n}": "y" for n in range(120)}), 431, "headers_too_large")
    gzip = client.post("/ocr", content=b"x", headers={"Content-Encoding": "gzip", "Content-Type": "image/png"})
    assert_problem(gzip, 415, "unsupported_encoding")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"[]", 422, "invalid_request"),
        (b"{}", 422, "invalid_parameter"),
        (json.dumps({"model": 5}).encode(), 422, "invalid_parameter"),
        (json.dumps({"model": "x" * 100_000}).encode(), 422, "invalid_parameter"),
        (json.dumps({"model": "nothing"}).encode(), 404, "model_not_found"),
        (json.dumps({"model": "faulty", "other": 1}).encode(), 422, "unknown_parameter"),
        (json.dumps({"model": "faulty", "keep_alive": -2}).encode(), 422, "invalid_parameter"),
        (b'{"model": "faulty", "keep_alive": NaN}', 400, "malformed_json"),
    ],
)
def test_bad_load_requests(client: httpx2.Client, body: bytes, status: int, code: str) -> None:
    answer = client.post("/models/load", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, status, code)


def test_a_models_own_failure_says_nothing_internal(server: LiveServer) -> None:
    answer = server.ocr("raise")
    assert_problem(answer, 500, "inference_failed")
    assert answer.headers["x-should-retry"] == "false"
    assert "RuntimeError" in server.log, "the log must have the cause"


def test_a_crash_of_the_model_is_told_and_the_next_request_works(server: LiveServer) -> None:
    assert_problem(server.ocr("kill"), 503, "worker_crashed")
    assert server.ocr(mark=9).json()["text"] == "9"


def test_a_request_that_takes_too_long_is_ended(start_server: object) -> None:
    server: LiveServer = start_server({"VISION_OCR_SECONDS": "0.5"})  # type: ignore[operator]
    server.client.post("/models/load", json={"model": "faulty"})
    answer = server.ocr("hang")
    assert_problem(answer, 504, "deadline_exceeded")
    assert answer.headers["x-should-retry"] == "false"


def test_a_full_queue_is_refused_and_nothing_is_lost(start_server: object) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server: LiveServer = start_server({"VISION_QUEUE_SIZE": "2"})  # type: ignore[operator]
    server.client.post("/models/load", json={"model": "faulty"})
    with ThreadPoolExecutor(12) as threads:
        pending = [threads.submit(server.ocr, "wait_for", mark) for mark in range(12)]
        refused = [answer for answer in _first_finished(pending, 6)]
        (server.folder / "go").touch()
        answers = [one.result() for one in pending]
    for answer in refused:
        assert_problem(answer, 429, "queue_full")
    served = sorted(int(answer.json()["text"]) for answer in answers if answer.status_code == 200)
    assert len(served) == 6, "max_batch 4 and a queue of 2"
    assert len(set(served)) == 6


def _first_finished(pending: list, count: int) -> list[httpx2.Response]:
    from concurrent.futures import as_completed

    finished = as_completed(pending, timeout=PATIENCE)
    return [next(finished).result() for _ in range(count)]
