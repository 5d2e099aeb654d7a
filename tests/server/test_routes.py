"""The small routes: models, health, metrics, and paths that lead nowhere."""

from __future__ import annotations

import re

import pytest
from openai.types import Model

from tests.server.scripted import refusal


def test_models(server) -> None:
    listed = server.request("GET", "/v1/models").json()
    assert listed["object"] == "list"
    (model,) = [Model.model_validate(item, strict=True) for item in listed["data"]]
    assert model.id == "scripted"
    assert server.request("GET", "/v1/models/scripted").json() == listed["data"][0]
    missing = server.request("GET", "/v1/models/gpt-5")
    assert missing.status_code == 404
    assert refusal(missing)["code"] == "model_not_found"


def test_health_and_ready(server) -> None:
    for path in ("/health", "/ready"):
        response = server.request("GET", path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/health/", 404),
        ("GET", "/v1/audio/transcriptions", 405),
        ("PUT", "/v1/chat/completions", 405),
        ("POST", "/v1/audio/translations", 404),
        ("POST", "/metrics", 405),
        ("GET", "/../etc/passwd", 404),
    ],
)
def test_other_paths_and_methods_are_refused_in_one_form(server, method, path, status) -> None:
    response = server.request(method, path)
    assert response.status_code == status
    assert refusal(response)["type"] == "invalid_request_error"


def test_metrics_are_prometheus_text_that_counts(server) -> None:
    server.transcribe()
    server.transcribe(language="de")
    server.request("GET", "/secret/path/of/someone")
    response = server.request("GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = {}
    form = re.compile(r'([a-z_]+)(\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? (\S+)')
    types: set[str] = set()
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            types.update(name + suffix for suffix in suffixes)
        elif not line.startswith("#"):
            found = form.fullmatch(line)
            assert found is not None, line
            assert found[1] in types
            samples[found[1] + (found[2] or "")] = float(found[3])
    assert samples["edge_audiokv_rss_bytes"] == 500
    assert samples["edge_audiokv_memory_cap_bytes"] == 1000
    assert samples["edge_audiokv_kv_bytes"] == 200
    assert samples["edge_audiokv_jobs_total"] == 1
    assert samples["edge_audiokv_queue_length"] == 0
    assert samples["edge_audiokv_realtime_factor"] >= 0
    route = '{route="/v1/audio/transcriptions",status='
    assert samples[f'edge_audiokv_requests_total{route}"200"}}'] == 1
    assert samples[f'edge_audiokv_requests_total{route}"400"}}'] == 1
    # What people ask for is nobody's business, and there is no end of it.
    assert samples['edge_audiokv_requests_total{route="other",status="404"}'] == 1
    assert "secret" not in response.text
