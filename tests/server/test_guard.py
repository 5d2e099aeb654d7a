"""Who may ask: hosts, origins and keys, on every route."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest

from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.guard import Guard
from tests.server.scripted import refusal

KEY = "0123456789abcdef"
PATHS = ["/health", "/ready", "/metrics", "/v1/models", "/v1/models/scripted", "/nowhere"]


@pytest.fixture
def local(make_server):
    return make_server(Guard.loopback(8080))


def get(server, path: str = "/v1/models", **headers: str) -> httpx.Response:
    response: httpx.Response = server.request(
        "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    return response


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080"]
)
def test_own_names_are_answered(local, host) -> None:
    assert get(local, host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8080",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:8081",
        "127.0.0.1:8080@evil.example",
        "evil.example@127.0.0.1:8080",
        "127.0.0.1:8080/x",
        "127.0.0.1:999999",
        "localhost.evil.example:8080",
        "localhost.:8080",
        "[::1",
        " ",
        "0.0.0.0:8080",
    ],
)
@pytest.mark.parametrize("path", ["/health", "/v1/models"])
def test_other_names_are_not(local, host, path) -> None:
    response = get(local, path, host=host)
    assert response.status_code == 403
    assert refusal(response)["code"] == "bad_host"


def test_a_request_has_one_host(local) -> None:
    assert get(local, host="").status_code == 400
    hosts = [("host", "localhost:8080"), ("host", "evil.example")]
    assert local.request("GET", "/health", headers=hosts).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "https://localhost:8080"},
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "file://"},
        {"origin": ""},
        {"origin": "http://["},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=str,
)
def test_pages_of_other_sites_are_not_answered(local, engine, headers) -> None:
    assert get(local, host="localhost:8080", **headers).status_code == 403
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = local.request(
        "POST",
        "/v1/audio/transcriptions",
        headers={"host": "localhost:8080", **named},
        files={"file": b"sound"},
        data={"model": "whisper-1"},
    )
    assert response.status_code == 403
    assert refusal(response)["code"] == "bad_origin"
    assert not engine.heard


def test_a_page_of_its_own_may_ask(local) -> None:
    own = {"origin": "http://localhost:8080", "sec_fetch_site": "same-origin"}
    assert get(local, host="localhost:8080", **own).status_code == 200


def test_a_page_behind_tls_of_a_proxy_may_ask_where_the_key_lets_in(make_server) -> None:
    key, host = {"authorization": f"Bearer {KEY}"}, "speech.example"
    server = make_server(Guard(key=KEY))
    for origin in (f"https://{host}", f"http://{host}"):
        assert get(server, host=host, origin=origin, **key).status_code == 200
        assert get(server, host=host, origin=origin).status_code == 401
    for origin in ("https://evil.example", f"https://{host}:8443", f"wss://{host}"):
        assert get(server, host=host, origin=origin, **key).status_code == 403
    for guard in (Guard(), Guard.loopback(8080, KEY)):
        own = {"host": "localhost:8080", "origin": "https://localhost:8080", **key}
        assert get(make_server(guard), **own).status_code == 403


def test_no_answer_invites_other_sites(local) -> None:
    response = local.request(
        "OPTIONS",
        "/v1/chat/completions",
        headers={"host": "localhost:8080", "origin": "http://evil.example"},
    )
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", PATHS)
def test_with_a_key_only_health_is_open(make_server, path) -> None:
    server = make_server(Guard(key=KEY))
    without, found = get(server, path), 404 if path == "/nowhere" else 200
    if path == "/health":
        assert without.status_code == 200
        return
    assert without.status_code == 401
    assert refusal(without)["code"] == "invalid_api_key"
    assert get(server, path, authorization=f"Bearer {KEY}").status_code == found
    assert get(server, path, authorization=f"bearer {KEY} ").status_code == found
    assert get(server, path, x_api_key=KEY).status_code == found


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer é"},
        {"authorization": KEY},
        {"x_api_key": KEY.upper()},
    ],
    ids=str,
)
def test_a_wrong_key_opens_nothing(make_server, headers) -> None:
    encoded = [(name.replace("_", "-"), value.encode()) for name, value in headers.items()]
    server = make_server(Guard(key=KEY))
    assert server.request("GET", "/v1/models", headers=encoded).status_code == 401


@pytest.mark.parametrize("key", [KEY, "a/b=c,d(e)f%25g h;"])
def test_a_websocket_may_bring_the_key_as_browsers_can(key) -> None:
    """As OpenAI's clients send it from a page, and percent-encoded, as ours does."""
    guard = Guard(key=key)

    def check(*protocols: str) -> None:
        headers = [(b"host", b"localhost")]
        guard.check({"path": "/v1/realtime", "headers": headers, "subprotocols": [*protocols]})

    check("realtime", f"openai-insecure-api-key.{key}")
    check("realtime", f"openai-insecure-api-key.{quote(key, safe='')}")
    for wrong in ("", key[:-1], key + "x", quote(quote("%" + key))):
        with pytest.raises(ApiError) as refused:
            check("realtime", f"openai-insecure-api-key.{wrong}")
        assert refused.value.status == 401
    for elsewhere in ([], ["realtime", key], [f"realtime.{key}"]):
        with pytest.raises(ApiError):
            check(*elsewhere)


def test_a_key_in_the_address_is_none(make_server) -> None:
    """Addresses end up in logs."""
    server = make_server(Guard(key=KEY))
    assert get(server, f"/v1/models?api_key={KEY}").status_code == 401


def test_a_key_does_not_open_loopback_to_other_sites(make_server) -> None:
    server = make_server(Guard.loopback(8080, KEY))
    assert get(server, host="evil.example", authorization=f"Bearer {KEY}").status_code == 403
    assert get(server, host="localhost:8080", authorization=f"Bearer {KEY}").status_code == 200
