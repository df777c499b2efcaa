"""Rows 36-47 of docs/reliability.md: multipart bodies, and uploads that break off."""

from __future__ import annotations

import os

import pytest

from fixtures.live import LiveServer, picture_bytes
from fixtures.multipart import BOUNDARY, CONTENT_TYPE, END, field, form, part
from fixtures.problems import check
from fixtures.raw_http import RawAnswer, connect, request, send_raw
from fixtures.waiting import eventually

PICTURE = picture_bytes()
ENGINE = field("engine", b"faulty")
ROUTES = ["/ocr", "/analyze_image"]
on_every_route = pytest.mark.parametrize("route", ROUTES)


def post(server: LiveServer, route: str, body: bytes, content_type: str = CONTENT_TYPE) -> RawAnswer:
    return send_raw(server.port, request(route, body, headers={"Content-Type": content_type}))


@on_every_route
@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; charset=utf-8",
        "multipart/form-data; boundary=" + "b" * 300,
        "multipart/form-data; boundary=" + "b" * 71,
    ],
)
def test_row_36_missing_or_long_boundary(survivor: LiveServer, route: str, content_type: str) -> None:
    check(post(survivor, route, form(part(PICTURE)), content_type), 400, "malformed_multipart")


@on_every_route
@pytest.mark.parametrize("cut", [len(END), len(END) + 1, len(END) + 10, len(END) + len(PICTURE) + 5])
def test_row_37_truncated(survivor: LiveServer, route: str, cut: int) -> None:
    check(post(survivor, route, form(part(PICTURE))[:-cut]), 400, "malformed_multipart")


@on_every_route
def test_row_37_nothing_at_all(survivor: LiveServer, route: str) -> None:
    check(post(survivor, route, b""), 400, "malformed_multipart")


@on_every_route
@pytest.mark.parametrize(
    "disposition", ["form-data", 'form-data; filename="a.png"', "form-data; nam=x", "", "\xff\xfe"]
)
def test_row_38_part_without_a_name(survivor: LiveServer, route: str, disposition: str) -> None:
    check(post(survivor, route, form(part(PICTURE, disposition))), 400, "malformed_multipart")


@on_every_route
def test_row_38_broken_part_header(survivor: LiveServer, route: str) -> None:
    body = f"--{BOUNDARY}\r\nContent-Disposition form-data\r\n\r\n".encode() + PICTURE + b"\r\n" + END
    check(post(survivor, route, body), 400, "malformed_multipart")


@on_every_route
def test_row_39_file_sent_as_text(survivor: LiveServer, route: str) -> None:
    check(post(survivor, route, form(field("file", PICTURE[:8].hex().encode()))), 422, "file_required")


@on_every_route
@pytest.mark.parametrize(
    "body",
    [
        form(ENGINE),
        END,
        form(part(PICTURE, 'form-data; name="file"; filename=""')),
        form(part(PICTURE, 'form-data; name="other"; filename="a"')),
    ],
    ids=["field_only", "empty_form", "empty_name", "other_name"],
)
def test_row_40_no_file(survivor: LiveServer, route: str, body: bytes) -> None:
    check(post(survivor, route, body), 422, "file_required")


@on_every_route
def test_row_41_two_files(survivor: LiveServer, route: str) -> None:
    check(post(survivor, route, form(part(PICTURE), part(PICTURE))), 422, "too_many_files")


@on_every_route
@pytest.mark.parametrize(
    "body",
    [
        form(*[field(f"f{number}", b"x") for number in range(1100)]),
        form(*[part(b"x", f'form-data; name="f{number}"; filename="x"') for number in range(1100)]),
        form(part(PICTURE), field("prompt", b"x" * 2_000_000)),
        form(part(PICTURE, extra=b"X-Long: " + b"y" * 100_000 + b"\r\n")),
        form(part(PICTURE, extra=b"".join(b"X-%d: y\r\n" % number for number in range(100)))),
    ],
    ids=["fields", "files", "long_field", "long_header", "many_headers"],
)
def test_row_42_over_the_limits(survivor: LiveServer, route: str, body: bytes) -> None:
    check(post(survivor, route, body), 400, "multipart_limits")


NAMES = {
    "path": "../../etc/passwd",
    "nul": "a\0b.png",
    "crlf": "a%0D%0AX-Evil: 1.png",
    "long": "n" * 10_240,
    "rtl": "gnp.\u202eexe",
    "absolute": "/root/.ssh/id_rsa",
    "windows": "C:\\\\boot.ini",
    "quote": 'a\\"; filename=\\"b',
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_row_43_file_names_are_never_used(survivor: LiveServer, name: str) -> None:
    answer = post(survivor, "/ocr", form(part(PICTURE, f'form-data; name="file"; filename="{name}"'), ENGINE))
    assert answer.status == 200, answer.body
    assert name.encode() not in answer.body
    assert name not in survivor.log
    assert "X-Evil" not in survivor.log


@pytest.mark.parametrize("value", [b"\xff\xfe", b"\x93\xfa\x96\x7b", b"\xc3"])
def test_row_44_prompt_that_is_not_utf8(survivor: LiveServer, value: bytes) -> None:
    check(post(survivor, "/analyze_image", form(part(PICTURE), field("prompt", value))), 422, "invalid_text")


MOST = 20 * 1024 * 1024


@on_every_route
def test_row_45_a_byte_too_much(survivor: LiveServer, route: str) -> None:
    check(post(survivor, route, form(part(b"x" * (MOST + 1)))), 413, "payload_too_large")
    check(post(survivor, route, b"x" * (MOST + 1), "image/png"), 413, "payload_too_large")
    check(post(survivor, route, form(part(b"x" * MOST))), 415, "unsupported_image_format")


def chunked(body: bytes, size: int = 1 << 16) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"


def chunked_head(route: str, content_type: str = CONTENT_TYPE) -> bytes:
    head = request(route, headers={"Content-Type": content_type, "Transfer-Encoding": "chunked"})
    return head.replace(b"Content-Length: 0\r\n", b"")


@on_every_route
def test_row_45_a_byte_too_much_in_chunks(survivor: LiveServer, route: str) -> None:
    check(
        send_raw(survivor.port, chunked_head(route), chunked(form(part(b"x" * (MOST + 1))))), 413, "payload_too_large"
    )


def test_a_chunked_form_is_read(survivor: LiveServer) -> None:
    answer = send_raw(survivor.port, chunked_head("/ocr"), chunked(form(part(PICTURE), ENGINE), size=7))
    assert answer.status == 200


@pytest.mark.parametrize("size", [1, 5, 1 << 16])
def test_a_preamble_is_skipped(survivor: LiveServer, size: int) -> None:
    body = b"This is a form.\r\n--front\r\n" + form(part(PICTURE), ENGINE) + b"\r\nThe end."
    assert send_raw(survivor.port, chunked_head("/ocr"), chunked(body, size)).status == 200


def temporary_files(server: LiveServer) -> list[str]:
    """Deleted or not, what the gateway holds open in the temporary folder, and what lies there."""
    held = [
        os.readlink(entry.path) for entry in os.scandir(f"/proc/{server.process.pid}/fd") if os.path.lexists(entry.path)
    ]
    return [path for path in held if path.startswith(str(server.temporary))] + os.listdir(server.temporary)


@pytest.mark.parametrize("sent", [10, 500_000, 5_000_000])
def test_row_46_upload_that_breaks_off(survivor: LiveServer, sent: int) -> None:
    before = survivor.log.count("client_closed")
    head = {"Content-Type": CONTENT_TYPE, "Content-Length": "9000000"}
    with connect(survivor.port) as sock:
        sock.sendall(request("/ocr", headers=head) + part(b"x" * 6_000_000)[:sent])
        if sent > 1 << 20:
            eventually(lambda: temporary_files(survivor))
    eventually(lambda: survivor.log.count("client_closed") == before + 1)
    eventually(lambda: not temporary_files(survivor))
    assert "Traceback" not in survivor.log


@pytest.mark.parametrize("where", ["preamble", "epilogue"])
def test_row_47_endless_preamble_and_epilogue(survivor: LiveServer, where: str) -> None:
    start = b"" if where == "preamble" else form(part(PICTURE))
    filler = b"%x\r\n" % (1 << 20) + b"x" * (1 << 20) + b"\r\n"
    pieces = [chunked_head("/ocr"), *([b"%x\r\n" % len(start) + start + b"\r\n"] if start else []), *[filler] * 1024]
    check(send_raw(survivor.port, *pieces), 413, "payload_too_large", closed=True)
    assert not temporary_files(survivor)
