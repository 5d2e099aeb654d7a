"""Addresses: loopback and not, taken ones, and a Unix socket that is its owner's alone."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.server.listening import is_loopback, open_tcp, open_unix


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "", "127.0.0.1.org"])
def test_not_loopback(host) -> None:
    assert not is_loopback(host)


def test_a_port_that_is_taken_is_told() -> None:
    with open_tcp("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(EdgeAudioKVError, match=r"--port"):
            open_tcp("127.0.0.1", port)


@pytest.mark.parametrize("host", ["256.0.0.1", "x" * 300, "203.0.113.7", "a..b"])
def test_an_address_that_is_not_here_is_told(host) -> None:
    with pytest.raises(EdgeAudioKVError):
        open_tcp(host, 0)


pytestmark = pytest.mark.skipif(os.name != "posix", reason="Unix sockets")


def test_a_unix_socket_is_private_and_gone_in_the_end(tmp_path) -> None:
    path = tmp_path / "s"
    before = os.umask(0)
    try:
        with open_unix(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert os.umask(0) == 0
        assert not path.exists()
    finally:
        os.umask(before)


def test_what_a_server_left_behind_is_replaced(tmp_path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with open_unix(path):  # while its model loads, too
        with pytest.raises(EdgeAudioKVError, match="already"), open_unix(path):
            pass
        assert path.exists()


def test_anything_else_in_its_place_stays(tmp_path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(EdgeAudioKVError, match="no socket"), open_unix(path):
        pass
    assert path.read_text() == "mine"
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(EdgeAudioKVError, match="no socket"), open_unix(link):
        pass


@pytest.mark.parametrize("name", ["no/such/folder", "x" * 200])
def test_a_path_that_cannot_be_is_told(tmp_path, name) -> None:
    with pytest.raises(EdgeAudioKVError, match="--uds"), open_unix(tmp_path / name):
        pass
