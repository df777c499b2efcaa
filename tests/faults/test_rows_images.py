"""Rows 48-66 of docs/reliability.md: pictures that are none, damaged, hostile or only unusual."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from fixtures import bad_pictures, complex_pictures
from fixtures.bad_pictures import NOISE, Expected
from fixtures.encoding import saved
from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.multipart import CONTENT_TYPE, field, form, part
from fixtures.problems import check
from fixtures.raw_http import RawAnswer, request, send_raw
from fixtures.requests import Asking, picture_request
from fixtures.waiting import PATIENCE, eventually

PATTERNS_OF_CONTENT = (b"<script>", b"passwd", b"ENTITY")


def post(
    server: LiveServer, data: bytes, name: str = "a.png", kind: str = "image/png", engine: str = "faulty"
) -> RawAnswer:
    disposition = f'form-data; name="file"; filename="{name}"'
    extra = f"Content-Type: {kind}\r\n".encode()
    return send_raw(
        server.port,
        request(
            "/ocr",
            form(part(data, disposition, extra), field("engine", engine.encode())),
            headers={"Content-Type": CONTENT_TYPE},
        ),
    )


MOST_TRIES = 10
CASES = [pytest.param(data, expected, id=f"row_{row}-{name}") for row, name, data, expected in bad_pictures.cases()]


@pytest.mark.parametrize(("data", "expected"), CASES)
def test_rows_48_to_64_pictures(survivor: LiveServer, data: bytes, expected: Expected) -> None:
    answer = post(survivor, data)
    status, code = expected
    if answer.status == 200 and status in (0, 200):
        assert answer.body.startswith(b'{"text":')
    else:
        check(answer, status or 422, code)
    assert not [pattern for pattern in PATTERNS_OF_CONTENT if pattern in answer.body]


@pytest.mark.parametrize("name", complex_pictures.TOO_COMPLEX)
def test_row_59a_more_parts_than_the_pixels_justify(survivor: LiveServer, name: str) -> None:
    check(post(survivor, complex_pictures.TOO_COMPLEX[name]), 422, "image_too_complex")


@pytest.mark.parametrize("data", [bad_pictures.row_48()["text"], bad_pictures.row_52()["bad_zlib"], picture_bytes()])
def test_raw_and_base64_pictures_get_the_same_answers(survivor: LiveServer, data: bytes) -> None:
    import base64
    import json

    by_form = post(survivor, data)
    raw = send_raw(survivor.port, request("/ocr?engine=faulty", data, headers={"Content-Type": "image/png"}))
    body = json.dumps({"image": base64.b64encode(data).decode(), "engine": "faulty"}).encode()
    in_json = send_raw(survivor.port, request("/ocr", body, headers={"Content-Type": "application/json"}))
    assert (by_form.status, by_form.code) == (raw.status, raw.code) == (in_json.status, in_json.code)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_row_50_wrong_name_and_content_type(survivor: LiveServer, kind: str) -> None:
    data = saved(bad_pictures.BLACK, kind)
    assert post(survivor, data, name="a.png", kind="image/png").status == 200
    assert post(survivor, data, name="a.exe", kind="text/html").status == 200


@pytest.mark.parametrize("name", bad_pictures.row_62())
def test_row_62_unusual_but_good(survivor: LiveServer, name: str) -> None:
    data, green = bad_pictures.row_62()[name]
    answer = post(survivor, data)
    assert answer.status == 200
    assert abs(int(answer.problem["text"]) - green) <= 3


def test_row_65_blank_picture_has_no_text(survivor: LiveServer) -> None:
    body = form(part(saved(bad_pictures.BLACK, "PNG")))
    answer = send_raw(survivor.port, request("/ocr", body, headers={"Content-Type": CONTENT_TYPE}))
    assert answer.status == 200
    assert (answer.problem["text"], answer.problem["no_text"], answer.problem["confidence"]) == ("", True, None)


def decoders(server: LiveServer) -> list[psutil.Process]:
    return server.children("decoders.child")


def frozen_request(server: LiveServer) -> tuple[threading.Thread, list[RawAnswer], list[psutil.Process]]:
    """A request whose decoder is stopped in the middle of the file."""
    post(server, picture_bytes())
    stopped = decoders(server)
    for decoder in stopped:
        decoder.send_signal(signal.SIGSTOP)
    answers: list[RawAnswer] = []
    thread = threading.Thread(target=lambda: answers.append(post(server, saved(NOISE, "PNG"))))
    thread.start()
    time.sleep(0.3)  # the file is on its way; a decoder that ends without it costs nobody an answer
    return thread, answers, stopped


def test_row_66_a_decoder_that_hangs(start_server: Start) -> None:
    server = start_server({"VISION_OCR_SECONDS": "1"})
    thread, answers, stopped = frozen_request(server)
    thread.join()
    check(answers[0], 503, "machine_busy")
    left = [decoder for decoder in stopped if decoder.is_running()]
    for decoder in left:
        decoder.send_signal(signal.SIGCONT)
    assert len(left) == len(stopped) - 1
    assert eventually(lambda: post(server, picture_bytes(mark=3)).status == 200)


def test_row_66_a_decoder_that_crashes(survivor: LiveServer) -> None:
    for _ in range(MOST_TRIES):
        before = survivor.metric("llm_vision_decoders_lost_total")
        thread, answers, stopped = frozen_request(survivor)
        end(stopped, signal.SIGSEGV)
        thread.join()
        psutil.wait_procs(stopped, timeout=PATIENCE)
        if answers[0].status != 200:  # the file had come to the decoder
            break
    check(answers[0], 422, "invalid_image")
    assert survivor.metric("llm_vision_decoders_lost_total") == before + 1
    for _ in stopped:  # those that died while nobody used them cost nobody an answer
        assert post(survivor, picture_bytes(mark=3)).status == 200


def test_row_66_a_decoder_that_the_system_kills_is_no_fault_of_the_picture(survivor: LiveServer) -> None:
    thread, answers, stopped = frozen_request(survivor)
    end(stopped, signal.SIGKILL)
    thread.join()
    assert answers[0].status == 200


def test_decoders_that_are_killed_again_and_again(survivor: LiveServer) -> None:
    for _ in range(MOST_TRIES):
        asking = Asking(survivor.port, picture_request(saved(NOISE, "PNG"), engine="faulty"))
        while not asking.is_answered:
            end(decoders(survivor), signal.SIGKILL)
        if asking.answer.status != 200:  # one that was quicker than the test has decoded it
            break
    check(asking.answer, 503, "insufficient_memory")
    assert int(asking.answer.headers["retry-after"]) >= 1


def end(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)


def test_decoded_pictures_that_wait_share_a_budget(start_server: Callable[..., LiveServer]) -> None:
    server = start_server({"VISION_BUFFER_MB": "16", "VISION_MAX_FILE_MB": "10"})
    first = saved(bad_pictures.BLACK.resize((2000, 2000)), "PNG")  # 12 MB of pixels
    answers: list[RawAnswer] = []
    waits = picture_bytes("wait_for", size=(2000, 2000))
    thread = threading.Thread(target=lambda: answers.append(post(server, waits)))
    thread.start()
    eventually(lambda: server.journal_has("started"))
    check(post(server, first), 429, "queue_full")
    assert post(server, picture_bytes(), engine="faulty-batch").status == 200
    server.go()
    thread.join()
    assert answers[0].status == 200
    assert post(server, first).status == 200
