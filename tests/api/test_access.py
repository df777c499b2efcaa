"""Keys, hosts, origins, request ids: who may call what."""

from __future__ import annotations

import http.client

import httpx2
import pytest

from fixtures.live import LiveServer, Start, picture_bytes

KEYS = {"VISION_API_KEYS": "use-1, use-2", "VISION_ADMIN_KEYS": "admin-1"}
CLOSED = [
    ("POST", "/ocr"), ("POST", "/analyze_image"), ("GET", "/models"), ("POST", "/models/load"),
    ("POST", "/models/unload"), ("GET", "/languages"), ("GET", "/version"), ("GET", "/metrics"),
    ("GET", "/docs/nothing"), ("GET", "/nothing"), ("GET", "/ocr"), ("HEAD", "/models"),
    ("GET", "/livez//"), ("GET", "/LIVEZ"), ("POST", "/livez"), ("GET", "/livez/../models"),
]  # fmt: skip
OPEN = [
    ("GET", "/livez"),
    ("GET", "/livez/"),
    ("GET", "/health"),
    ("GET", "/readyz"),
    ("HEAD", "/ocr"),
    ("HEAD", "/livez"),
]


@pytest.fixture(scope="module")
def locked(start_module_server: Start) -> LiveServer:
    return start_module_server(KEYS)


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_without_a_key_nothing_answers(locked: LiveServer, method: str, path: str) -> None:
    answer = locked.client.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert answer.json()["code"] == "missing_credentials"


@pytest.mark.parametrize(("method", "path"), OPEN)
def test_probes_are_open(locked: LiveServer, method: str, path: str) -> None:
    assert locked.client.request(method, path).status_code == 200


@pytest.mark.parametrize("key", ["wrong", "use-1x", "use", "use-1,", "ключ"])
def test_wrong_keys_are_refused(locked: LiveServer, key: str) -> None:
    answer = locked.client.get("/models", headers={"X-API-Key": key.encode()})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")


def test_a_key_in_the_url_is_no_key(locked: LiveServer) -> None:
    assert locked.client.get("/models", params={"api_key": "use-1"}).status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer use-1"}, {"Authorization": "bearer use-2"}, {"X-API-Key": "admin-1"}]
)
def test_a_key_opens(locked: LiveServer, headers: dict[str, str]) -> None:
    assert locked.client.get("/models", headers=headers).status_code == 200


def test_only_admin_keys_load_and_unload(locked: LiveServer) -> None:
    body = {"model": "faulty"}
    refused = locked.client.post("/models/load", json=body, headers={"X-API-Key": "use-1"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert locked.client.post("/models/load", json=body, headers={"X-API-Key": "admin-1"}).status_code == 200
    assert locked.client.post("/models/unload", json=body, headers={"X-API-Key": "admin-1"}).status_code == 200


def test_keys_are_not_in_the_log(locked: LiveServer) -> None:
    locked.client.get("/models", headers={"X-API-Key": "use-1"})
    assert "use-1" not in locked.log


def test_workers_are_not_given_the_keys(locked: LiveServer) -> None:
    locked.client.post("/models/load", json={"model": "faulty"}, headers={"X-API-Key": "admin-1"})
    assert len(locked.children()) >= 2
    for child in locked.children():
        assert not [name for name in child.environ() if name.startswith("VISION_")]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null"])
def test_pages_of_other_origins_may_not_post(server: LiveServer, origin: str) -> None:
    answer = server.client.post("/ocr", files={"file": picture_bytes()}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_cross_site_post_without_origin_is_refused(server: LiveServer) -> None:
    answer = server.client.post("/models/unload", json={"model": "x"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_pages_of_other_origins_may_not_have_pictures_fetched(server: LiveServer, headers: dict[str, str]) -> None:
    answer = server.client.get("/ocr", params={"url": "https://reader.example/1.png"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert server.client.get("/version", headers=headers).status_code == 200, "what only reads may be asked"


def test_our_own_pages_may_post(server: LiveServer) -> None:
    own = f"http://127.0.0.1:{server.port}"
    answer = server.client.post(
        "/ocr", files={"file": picture_bytes()}, data={"engine": "faulty"}, headers={"Origin": own}
    )
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_origins_that_are_allowed_may_post_and_read(start_server: object) -> None:
    server = start_server({"VISION_CORS_ORIGINS": "https://reader.example"})  # type: ignore[operator]
    allowed = {"Origin": "https://reader.example"}
    answer = server.client.post("/ocr", files={"file": picture_bytes()}, data={"engine": "faulty"}, headers=allowed)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://reader.example"
    preflight = server.client.options("/ocr", headers={**allowed, "Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 200
    assert server.client.post("/ocr", headers={"Origin": "https://evil.example"}).status_code == 403


OF_THE_OPENAI_CLIENT = (
    "authorization,content-type,x-stainless-arch,x-stainless-helper-method,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,"
    "x-stainless-timeout"
)
"""What a browser asks for when a page converses through the official package, with `dangerouslyAllowBrowser`."""


def test_pages_of_origins_that_are_allowed_may_use_the_official_clients(start_server: object) -> None:
    server = start_server({"VISION_CORS_ORIGINS": "https://reader.example"})  # type: ignore[operator]

    def preflight(origin: str, method: str, path: str, names: str) -> httpx2.Response:
        asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": names}
        return server.client.options(path, headers=asked)  # type: ignore[no-any-return]

    for method, path, names in [
        ("POST", "/v1/chat/completions", OF_THE_OPENAI_CLIENT),
        ("GET", "/v1/models", OF_THE_OPENAI_CLIENT),
        ("DELETE", "/api/delete", "content-type"),
        ("HEAD", "/", "x-api-key"),
    ]:
        answer = preflight("https://reader.example", method, path, names)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://reader.example"
        assert method in answer.headers["access-control-allow-methods"].split(", ")
        assert set(answer.headers["access-control-allow-headers"].split(",")) == set(names.split(","))
        assert "access-control-allow-credentials" not in answer.headers
        refused = preflight("https://evil.example", method, path, names)
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
    assert preflight("https://reader.example", "PUT", "/ocr", "content-type").status_code == 400
    answer = server.client.get("/nowhere", headers={"Origin": "https://reader.example"})
    readable = {name.lower() for name in answer.headers["access-control-expose-headers"].split(", ")}
    assert {"retry-after", "x-request-id", "x-should-retry"} <= readable, "the client looks at them after an error"


@pytest.mark.parametrize("host", ["evil.example", "a/b?c#d@e", "127.0.0.1.evil.example", "", "localhost:x"])
def test_foreign_and_broken_hosts_are_refused_on_loopback(server: LiveServer, host: str) -> None:
    answer = server.client.get("/models", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9100", "127.0.0.1", "[::1]:80", "vision.localhost"])
def test_names_of_this_machine_are_accepted(server: LiveServer, host: str) -> None:
    assert server.client.get("/models", headers={"Host": host}).status_code == 200


def test_more_hosts_by_setting(start_server: object) -> None:
    server = start_server({"VISION_ALLOWED_HOSTS": "vision.home"})  # type: ignore[operator]
    assert server.client.get("/models", headers={"Host": "vision.home:9100"}).status_code == 200
    assert server.client.get("/models", headers={"Host": "evil.example"}).status_code == 400


def test_any_host_by_setting(start_server: object) -> None:
    server = start_server({"VISION_ALLOWED_HOSTS": "*"})  # type: ignore[operator]
    assert server.client.get("/models", headers={"Host": "vision.home:9100"}).status_code == 200
    assert server.client.get("/models", headers={"Host": "a/b?c"}).status_code == 400


def test_a_missing_host_is_refused(server: LiveServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.putrequest("GET", "/models", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_request_ids_are_kept_when_harmless_and_replaced_when_not(server: LiveServer) -> None:
    assert (
        server.client.get("/livez", headers={"X-Request-Id": "page-180.a_b"}).headers["x-request-id"] == "page-180.a_b"
    )
    for bad in ("a b", "x" * 129, "<script>", ""):
        replaced = server.client.get("/livez", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert replaced != bad
        assert len(replaced) == 32
    assert "[page-180.a_b]" in server.log
