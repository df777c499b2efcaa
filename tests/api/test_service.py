"""Probes, models, metrics, offline documentation, and the end of the service."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psutil
import pytest

from fixtures.live import LiveServer, Start, picture_bytes
from fixtures.raw_http import connect
from fixtures.requests import ocr_request
from fixtures.waiting import PATIENCE, eventually, is_alive


def test_probes(client: httpx2.Client) -> None:
    assert client.get("/livez").json() == client.get("/health").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert ready.json()["models"]["rapidocr"] == "not_loaded"


def test_version_names_the_libraries(client: httpx2.Client) -> None:
    body = client.get("/version").json()
    assert re.fullmatch(r"\d+\.\d+\.\d+", body["version"])
    assert body["packages"]["torch"].startswith("2.13")


def test_no_model_library_is_imported_by_the_gateway(server: LiveServer) -> None:
    server.client.post("/ocr", files={"file": picture_bytes(size=(64, 64))})
    server.client.post("/analyze_image", files={"file": picture_bytes(size=(64, 64))})
    gateway = psutil.Process(server.process.pid)
    mapped = {os.path.basename(found.path) for found in gateway.memory_maps()}
    workers = {os.path.basename(found.path) for child in gateway.children() for found in child.memory_maps()}
    assert any("torch" in name for name in workers), "the check must be able to see it"
    assert not [name for name in mapped if re.search(r"torch|onnxruntime|cv2", name)]


def test_models_can_be_loaded_and_unloaded(server: LiveServer) -> None:
    def state() -> dict:
        return next(m for m in server.client.get("/models").json()["models"] if m["id"] == "faulty")

    server.client.post("/models/unload", json={"model": "faulty"})
    assert state()["state"] == "not_loaded"
    loaded = server.client.post("/models/load", json={"model": "faulty", "keep_alive": -1}).json()
    assert (loaded["state"], loaded["device"], loaded["expires_in"]) == ("ready", "cpu", None)
    assert state() == loaded | {"memory_bytes": state()["memory_bytes"]}
    answer = server.client.post("/models/unload", json={"model": "faulty"})
    assert answer.json() == {"model": "faulty", "unloaded": True}
    assert server.client.post("/models/unload", json={"model": "faulty"}).json()["unloaded"] is False


def test_a_model_in_use_is_not_unloaded(start_server: Start) -> None:
    server = start_server()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(server.ocr, "wait_for", 5)
        eventually(lambda: server.journal_has("started"))
        refused = server.client.post("/models/unload", json={"model": "faulty"})
        assert (refused.status_code, refused.json()["code"]) == (409, "model_in_use")
        assert refused.headers["x-should-retry"] == "false"
        server.go()
        assert running.result().json()["text"] == "5"


def test_a_model_that_does_not_load_says_so_and_others_work(server: LiveServer) -> None:
    answer = server.ocr(engine="broken-load")
    assert (answer.status_code, answer.json()["code"]) == (503, "model_load_failed")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret" not in answer.text
    assert server.ocr(mark=4).json()["text"] == "4"


def test_metrics_count_what_happened(server: LiveServer) -> None:
    ok = 'llm_vision_requests_total{method="POST",route="/ocr",status="200"}'
    not_found = 'llm_vision_errors_total{code="model_not_found"}'
    before, errors = server.metric(ok), server.metric(not_found)
    server.ocr()
    server.ocr(engine="nothing")
    assert server.metric(ok) == before + 1
    assert server.metric(not_found) == errors + 1
    for model, stage in (("", "decode"), ("faulty", "queue"), ("faulty", "run")):
        assert server.metric(f'llm_vision_stage_seconds_count{{model="{model}",stage="{stage}"}}') > 0
    assert server.metric('llm_vision_batch_size_count{model="faulty"}') > 0
    assert server.metric('llm_vision_model_loaded{model="faulty"}') == 1
    assert server.metric('llm_vision_resident_memory_bytes{process="gateway"}') > 1e7
    assert server.metric('llm_vision_resident_memory_bytes{process="faulty"}') > 1e7


def test_metrics_show_what_runs_and_what_waits(start_server: Start) -> None:
    server = start_server()
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(server.ocr, "wait_for", engine="one-by-one") for _ in range(3)]
        eventually(lambda: server.metric('llm_vision_requests_waiting{model="one-by-one"}') == 2)
        assert server.metric('llm_vision_requests_running{model="one-by-one"}') == 1
        server.go()
        assert {answer.result().status_code for answer in asked} == {200}
    assert server.metric("llm_vision_requests_waiting") == server.metric("llm_vision_requests_running") == 0


def test_metrics_have_no_second_series_for_each_counter(server: LiveServer) -> None:
    assert "_created" not in server.client.get("/metrics").text


def test_metrics_have_no_labels_from_clients(server: LiveServer) -> None:
    server.client.get("/some-path-that-a-client-made-up")
    assert "made-up" not in server.client.get("/metrics").text


def test_the_documentation_page_needs_no_network(client: httpx2.Client) -> None:
    page = client.get("/docs").text
    assert not re.findall(r"(?:src|href)=[\"']?https?://", page)
    for path in re.findall(r"(?:src|href)=[\"'](/[^\"']+)", page):
        assert client.get(path).status_code == 200
    assert {"/ocr", "/analyze_image", "/models/load"} <= client.get("/openapi.json").json()["paths"].keys()


def test_a_lazy_start_loads_nothing_and_a_preload_is_waited_for(start_server: Start) -> None:
    server = start_server({"VISION_PRELOAD": "slow-to-load"})
    waiting = server.client.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.json()["reason"] == "preloading models"
    assert server.client.get("/livez").status_code == 200
    (server.folder / "may_load").touch()
    eventually(lambda: server.client.get("/readyz").status_code == 200)
    assert server.client.get("/readyz").json()["models"]["slow-to-load"] == "ready"


def test_a_client_that_hangs_up_frees_its_place(start_server: Start) -> None:
    server = start_server()
    with connect(server.port) as sock:
        sock.sendall(ocr_request("wait_for"))
        eventually(lambda: server.journal_has("started"))
    eventually(lambda: server.journal_has("cancelled"))
    eventually(lambda: server.metric('llm_vision_requests_total{method="POST",route="/ocr",status="499"}') == 1)
    assert server.in_use("faulty") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_finishes_what_runs_and_exits_with_0(start_server: Start, number: signal.Signals) -> None:
    server = start_server()
    with ThreadPoolExecutor() as threads:
        running = [threads.submit(server.ocr, "wait_for", mark) for mark in range(1, 5)]
        eventually(lambda: server.journal_has("started"))
        server.process.send_signal(number)
        eventually(lambda: not _accepts(server.port))
        server.go()
        assert sorted(one.result().json()["text"] for one in running) == ["1", "2", "3", "4"]
    assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.log


def test_under_nohup_the_end_of_a_terminal_stops_nothing(start_server: Start) -> None:
    server = start_server(under=("env", "--ignore-signal=HUP"))
    server.process.send_signal(signal.SIGHUP)
    assert server.ocr(mark=6).json()["text"] == "6"
    assert server.stop() == 0


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_kept_connections_are_told_that_the_service_ends(start_server: Start) -> None:
    server = start_server()
    kept = http.client.HTTPConnection("127.0.0.1", server.port)
    kept.putrequest("POST", "/ocr")
    kept.putheader("Content-Type", "image/png")
    kept.putheader("Content-Length", "100000")
    kept.endheaders()
    with ThreadPoolExecutor() as threads:
        running = threads.submit(server.ocr, "wait_for", 1)
        eventually(lambda: server.journal_has("started"))
        server.process.send_signal(signal.SIGTERM)
        server.go()
        running.result()
    kept.close()
    assert server.process.wait(PATIENCE) == 0


def test_requests_that_do_not_end_in_time_are_answered_at_the_stop(start_server: Start) -> None:
    server = start_server({"VISION_DRAIN_SECONDS": "0.3"})
    with ThreadPoolExecutor() as threads:
        hung = threads.submit(server.ocr, "hang")
        eventually(lambda: server.journal_has("started"))
        server.process.send_signal(signal.SIGTERM)
        answer = hung.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
    assert server.process.wait(PATIENCE) == 0


def test_a_second_signal_ends_at_once(start_server: Start) -> None:
    server = start_server()
    thread = threading.Thread(target=lambda: _ignore_errors(lambda: server.ocr("hang")), daemon=True)
    thread.start()
    eventually(lambda: server.journal_has("started"))
    children = server.children()
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: not _accepts(server.port))
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    assert len(children) >= 2
    eventually(lambda: not any(child.is_running() for child in children))
    thread.join()


def _ignore_errors(call: Callable[[], object]) -> None:
    with contextlib.suppress(httpx2.HTTPError):
        call()


def test_workers_do_not_outlive_a_gateway_that_is_killed(start_server: Start) -> None:
    server = start_server()
    server.ocr()
    children = server.children()
    server.process.kill()
    server.process.wait()
    assert len(children) >= 2
    eventually(lambda: not any(is_alive(child) for child in children))
