"""Promises 10, 12, 18 and 32 of docs/reliability.md on the chat routes; `make faults` measures the figures too."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.scenarios import chatting, first_requests, overload
from fixtures.chat_requests import CHAT_ROUTES
from fixtures.counts import many
from fixtures.live import Start
from fixtures.waiting import eventually

NUMBERS = "".join(f"{number} " for number in range(100))


@pytest.mark.parametrize("route", CHAT_ROUTES)
async def test_promise_10_who_leaves_a_stream_stops_the_answer(start_server: Start, route: str) -> None:
    server = start_server()
    found = await chatting.leave_stream(server, route)
    assert found.said < 100, "what was on its way, of 2000"


async def test_promise_10_who_leaves_while_the_prompt_is_read(start_server: Start, tmp_path: Path) -> None:
    server = start_server(first_requests.settings(tmp_path / "weights"))
    await chatting.leave_reading(server)
    eventually(lambda: server.in_use(chatting.LLAVA_ID) == 0)
    assert "killing a process whose requests were abandoned" not in server.log
    assert server.metric("llm_vision_worker_restarts_total") == 0


async def test_promise_12_streams_are_finished_before_the_stop(start_server: Start) -> None:
    found = await chatting.stop_while_streaming(start_server(), count=100)
    assert found.texts == [NUMBERS] * 2
    assert (found.are_done, found.errors, found.exit_status) == ([True, True], [None, None], 0)


async def test_promise_12_a_stream_that_outlasts_the_stop_is_told(start_server: Start) -> None:
    server = start_server({"VISION_DRAIN_SECONDS": "0.5"})
    found = await chatting.stop_while_streaming(server, count=chatting.LONG)
    assert (found.are_done, found.exit_status) == ([False, False], 0)
    openai, ollama = found.errors
    assert openai["code"] == "shutting_down"
    assert ollama


async def test_promise_18_streams_about_many_pictures_get_their_own_answers(
    start_server: Start, tmp_path: Path
) -> None:
    pictures = many(40, 16)
    asked = chatting.conversations(pictures, seed=26)
    assert (len(asked), len({one.picture for one in asked})) == (pictures * 3 // 2, pictures)
    patience = {"VISION_QUEUE_SECONDS": "120"}
    server = start_server(first_requests.settings(tmp_path / "weights", len(asked)) | patience)
    said = chatting.at_once(server, asked)
    assert chatting.reused_tokens(server, asked[-1]) > 0, "the pictures were really known"
    server.client.post("/models/unload", json={"model": chatting.LLAVA_ID}).raise_for_status()
    assert said == chatting.one_by_one(server, asked)
    assert sum(text == one.answer for text, one in zip(said, asked, strict=True)) >= 0.9 * len(asked)


async def test_promise_32_a_greedy_client_does_not_starve_polite_conversations(start_server: Start) -> None:
    server = start_server(overload.FAIR_KEYS)
    found = await overload.fairness(server, requests_each=many(4, 2), request_of=chatting.slow_talk)
    assert found.refused_polite == 0
    assert found.greedy[200, None] > 0
    assert {code for status, code in found.greedy if status == 429} <= {"queue_full", "rate_limited"}
