"""GET /v1/edge/memory: where the bytes are, and which head keeps what."""

from __future__ import annotations

import pytest

from edge_audiokv.server.guard import Guard
from tests.server.scripted import refusal

PATH = "/v1/edge/memory"


def test_bytes_by_part_and_rows_by_head(server) -> None:
    response = server.request("GET", PATH)
    assert response.headers["cache-control"] == "no-store"
    told = response.json()
    assert (told["cap_bytes"], told["rss_bytes"]) == (1000, 500)
    assert told["parts"] == {"KV pools": 200, "weights": 300}
    assert told["heads"] == {
        "audio": [[10, 11], [12, 13], [14, 15]],
        "text": [[0, 1], [2, 3], [4, 5]],
        "other": [[1, 2], [3, 4], [5, 6]],
        "capacity": [[64, 64]] * 3,
    }
    assert (told["model"], told["jobs"], told["fault"]) == ("scripted", 0, "")


def test_nothing_is_known_before_the_model_is(server, engine) -> None:
    engine.heads = None
    assert server.request("GET", PATH).json()["heads"] is None


def test_it_says_why_nobody_is_served(server) -> None:
    server.worker.refuse_new()
    assert server.request("GET", PATH).json()["fault"] == "stopping"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8080"}, 401),
        ({"host": "localhost:8080", "authorization": "Bearer 0123456789abcdef"}, 200),
        ({"host": "evil.example", "authorization": "Bearer 0123456789abcdef"}, 403),
        ({"host": "localhost:8080", "origin": "http://evil.example"}, 403),
    ],
    ids=str,
)
def test_it_is_guarded_as_all_else_is(make_server, headers, status) -> None:
    server = make_server(Guard.loopback(8080, "0123456789abcdef"))
    response = server.request("GET", PATH, headers=headers)
    assert response.status_code == status
    assert status == 200 or refusal(response)


def test_it_is_read_alone(server) -> None:
    assert server.request("POST", PATH).status_code == 405
    assert server.request("HEAD", PATH).status_code == 200
