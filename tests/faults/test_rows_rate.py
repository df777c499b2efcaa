"""Row 83 of docs/reliability.md: more requests in a minute than a key, or an address, may send."""

from __future__ import annotations

from fixtures.live import Start
from fixtures.problems import check
from fixtures.raw_http import send_raw
from fixtures.requests import ocr_request


def test_row_83_a_key_that_has_sent_its_requests_of_a_minute(start_server: Start) -> None:
    server = start_server({"VISION_API_KEYS": "busy,other", "VISION_KEY_REQUESTS_PER_MINUTE": "2"})
    assert [send_raw(server.port, ocr_request(key="busy")).status for _ in range(2)] == [200, 200]
    refused = send_raw(server.port, ocr_request(key="busy"))
    check(refused, 429, "rate_limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert send_raw(server.port, ocr_request(key="other")).status == 200
    assert {server.client.get("/models", headers={"X-API-Key": "busy"}).status_code for _ in range(5)} == {200}
    assert server.client.head("/ocr").status_code == 200


def test_row_83_without_keys_addresses_are_counted(start_server: Start) -> None:
    server = start_server({"VISION_KEY_REQUESTS_PER_MINUTE": "1"})
    assert server.ocr().status_code == 200
    check(send_raw(server.port, ocr_request()), 429, "rate_limited")
    assert server.client.delete("/models").json()["code"] == "rate_limited"
    fetched = server.client.get("/ocr", params={"url": "https://example.com/a.png"})
    assert fetched.json()["code"] == "rate_limited", "it reads as much as a POST"
    assert {server.client.get(path).status_code for path in ("/livez", "/models", "/metrics")} == {200}
