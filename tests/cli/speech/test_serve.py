"""What `serve` refuses before it loads a model."""

from __future__ import annotations

import os
import socket

import click
import pytest

from edge_audiokv.cli.main import cli

KEY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    for name in ("EDGE_AUDIOKV_API_KEY", "EDGE_AUDIOKV_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_need_a_key(call, host) -> None:
    ran = call("serve", "--host", host)
    assert ran.code == 2
    assert "EDGE_AUDIOKV_API_KEY" in ran.complaint


@pytest.mark.parametrize("key", ["", "short", "with some spaces in it", "0123456789abcdeé"])
def test_a_key_that_is_none(call, key, tmp_path) -> None:
    assert "16" in call("serve", "--api-key", key).complaint
    path = tmp_path / "key"
    path.write_text(key)
    ran = call("serve", "--host", "0.0.0.0", "--api-key-file", path)
    assert ran.code == 2 and "Invalid value for --api-key-file: " in ran.complaint


@pytest.mark.parametrize("uri", ["udp://x", "tcp://192.0.2.1:10300"])
def test_an_address_that_is_none_is_wrong_usage(call, uri) -> None:
    ran = call("serve", "--port", "0", "--wyoming", uri)
    assert ran.code == 2 and "Invalid value for --wyoming: " in ran.complaint


@pytest.mark.parametrize("wyoming", [[], ["--wyoming", "unix://w"]])
def test_only_a_port_of_wyoming_is_announced(call, wyoming, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = call("serve", "--port", "0", *wyoming, "--zeroconf")
    assert ran.code == 2 and "--wyoming tcp://127.0.0.1:10300" in ran.complaint


def test_a_name_that_cannot_be_announced(call) -> None:
    ran = call("serve", "--port", 0, "--wyoming", "tcp://127.0.0.1:0", "--zeroconf", "a" * 64)
    assert ran.code == 2 and "Invalid value for --zeroconf: " in ran.complaint


def test_a_key_file_that_cannot_be_read(call, tmp_path) -> None:
    assert call("serve", "--api-key-file", tmp_path / "none").code == 2
    assert call("serve", "--api-key-file", tmp_path).code == 2
    (tmp_path / "key").write_text(KEY)
    assert call("serve", "--api-key", KEY, "--api-key-file", tmp_path / "key").code == 2


def test_a_port_that_is_taken_is_told_before_the_model_loads(call) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = call("serve", "--port", port)
    assert ran.code == 1
    assert str(port) in ran.complaint and "--port" in ran.complaint


@pytest.mark.skipif(os.name != "posix", reason="Unix sockets")
def test_a_path_that_is_taken_is_told(call, tmp_path) -> None:
    (tmp_path / "s").write_text("mine")
    assert call("serve", "--uds", tmp_path / "s").code == 1
    assert (tmp_path / "s").read_text() == "mine"


def test_a_cache_that_cannot_be_written_is_told(call, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "file"))
    assert call("serve", "--port", "0").code == 10


def test_without_the_extra(call, monkeypatch) -> None:
    import importlib

    def missing(name: str):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("edge_audiokv.cli.speech.serve.import_module", missing)
    ran = call("serve")
    assert ran.code == 11
    assert "edge-audiokv[server]" in ran.complaint
    assert importlib.import_module("starlette")


def test_the_environment_may_hold_the_key_and_doctor_does_not_show_it(monkeypatch) -> None:
    from typing import Any

    from edge_audiokv.cli.machine.checks import environment
    from edge_audiokv.cli.options import variables

    command = cli.get_command(click.Context(cli), "serve")
    assert command is not None
    names = variables(command)
    assert {"EDGE_AUDIOKV_API_KEY", "EDGE_AUDIOKV_SERVE_API_KEY"} <= set(names)
    assert "EDGE_AUDIOKV_API_KEY_FILE" in names
    facts: dict[str, Any] = {}
    for name in ("EDGE_AUDIOKV_API_KEY", "EDGE_AUDIOKV_SERVE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    environment(facts, names)
    assert KEY not in str(facts)
    assert facts["EDGE_AUDIOKV_API_KEY"] == "set"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://127.0.0.1:8080"),
    ],
)
def test_the_address_of_the_page_is_one_that_a_browser_can_open(host, address) -> None:
    from edge_audiokv.cli.speech.serve import page_address

    assert page_address(host, 8080) == address
