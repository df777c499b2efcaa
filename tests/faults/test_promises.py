"""Promises 8-12, 14, 15, 29, 32 and 37 of docs/reliability.md: the outcomes; `make faults` measures the figures too."""

from __future__ import annotations

import asyncio
import signal

import pytest

from faults.scenarios import leaving, overload
from fixtures.counts import many
from fixtures.crowd import ask
from fixtures.live import Start
from fixtures.problems import check
from fixtures.waiting import eventually


async def test_promise_08_overload_sheds_and_never_decodes_what_it_refuses(start_server: Start) -> None:
    found = await overload.burst(start_server())
    assert found.by_outcome == {(200, None): 33, (429, "queue_full"): 167}
    assert all(refusal.retry_after for refusal in found.refusals)
    assert found.decoded == 33


async def test_promise_08_nobody_waits_longer_than_the_queue_allows(start_server: Start) -> None:
    found = await overload.long_queue(start_server(overload.QUEUE_SETTINGS))
    assert {(answer.status, answer.code) for answer in found} == {(200, None), (429, "queue_full")}
    assert all(answer.retry_after for answer in found if answer.status == 429)


async def test_promise_09_health_is_never_refused(start_server: Start) -> None:
    answers, probes = await overload.steady_overload(start_server({"VISION_QUEUE_SIZE": "8"}), seconds=2)
    assert {probe.status for probe in probes} == {200}
    assert {answer.status for answer in answers} == {200, 429}
    assert {probe.status for probe in await overload.slow_load(start_server(), seconds=1)} == {200}


async def test_promise_10_who_leaves_frees_the_place_and_stops_the_work(start_server: Start) -> None:
    found = await leaving.departures(start_server())
    assert set(found.seconds) == {"upload", "load", "queue", "compute"}
    assert found.runs_of_the_queued == 0


async def test_promise_11_requests_end_at_their_deadline_and_free_the_worker(start_server: Start) -> None:
    found = await leaving.hang(start_server(leaving.HANG_SETTINGS))
    assert found.outcomes == {(504, "deadline_exceeded"): 50}
    assert found.good == {200: 50}


async def test_promise_12_a_stop_loses_no_request(start_server: Start) -> None:
    found = await leaving.shutdown(start_server())
    assert found.answers == {(200, None): 10}
    assert (found.exit_status, found.children_left, found.files_left) == (0, 0, [])


async def test_promise_12_a_second_signal_ends_what_hangs(start_server: Start) -> None:
    found = await leaving.second_signal(start_server())
    assert found.first_waited
    assert (found.exit_status, found.children_left) == (0, 0)
    check(found.answer, 503, "shutting_down", closed=True)


def test_promise_14_while_a_device_recovers_the_service_is_not_ready(start_server: Start) -> None:
    server = start_server()
    gate = server.journal_path.with_name("may_load")
    gate.touch()
    assert server.ocr(engine="slow-to-load").status_code == 200
    assert server.ocr(engine="one-by-one").status_code == 200
    (before,) = [line for line in server.journal if line.startswith("load one-by-one")]
    gate.unlink()
    lost = server.ocr("lose_device", engine="slow-to-load")
    assert (lost.status_code, lost.json()["code"]) == (503, "worker_crashed")
    eventually(lambda: server.client.get("/readyz").status_code == 503)
    assert server.client.get("/readyz").json()["reason"] == "a device failed; starting again: slow-to-load"
    assert server.ocr(engine="one-by-one", mark=7).json()["text"] == "7"
    assert [line for line in server.journal if line.startswith("load one-by-one")] == [before]
    gate.touch()
    eventually(lambda: server.client.get("/readyz").status_code == 200)
    assert server.ocr(engine="slow-to-load", mark=9).json()["text"] == "9"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=["kill", "segfault"])
async def test_promise_15_a_crash_costs_the_running_request_only(start_server: Start, number: signal.Signals) -> None:
    found = await leaving.crash(start_server(), number)
    assert found.outcomes == {(503, "worker_crashed"): 1}
    assert found.good == {200: 1}


async def test_promise_29_failed_loads_do_not_stampede_and_heal(start_server: Start) -> None:
    outcomes, tries, recovery = await leaving.broken_load(start_server())
    assert outcomes == {(503, "model_load_failed"): 100}
    assert tries == 1
    assert recovery.good == {200: 1}


async def test_promise_32_a_greedy_client_does_not_starve_polite_ones(start_server: Start) -> None:
    found = await overload.fairness(start_server(overload.FAIR_KEYS), requests_each=many(4, 2))
    assert found.refused_polite == 0
    assert found.greedy[200, None] > 0
    assert {code for status, code in found.greedy if status == 429} <= {"queue_full", "rate_limited"}


async def test_promise_32_a_costly_picture_keeps_no_crop_waiting(start_server: Start) -> None:
    server = start_server(overload.FAIR_KEYS)
    server.client.headers["X-API-Key"] = "polite0"
    costly = [asyncio.create_task(ask(server.port, overload.costly_reading("greedy"))) for _ in range(12)]
    polite = await overload.all_at_once(server.port, [overload.costly_reading(f"polite{n}") for n in range(5)])
    assert {answer.status for answer in polite} == {200}
    assert not any(task.done() for task in costly)
    for task in costly:
        task.cancel()
    await asyncio.gather(*costly, return_exceptions=True)
    eventually(lambda: server.in_use("rapidocr") == 0)


@pytest.mark.parametrize("do", leaving.MISHAPS)
async def test_promise_37_what_goes_wrong_with_one_request_spoils_no_other(start_server: Start, do: str) -> None:
    await leaving.mishap(start_server(), do)
