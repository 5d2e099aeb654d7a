"""Where the socket lies, and who may have put it there."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.server.events.place import default_path, open_socket, require_unix

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Unix sockets")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_without_a_path_it_lies_where_the_client_looks(folder) -> None:
    before = os.umask(0)
    try:
        with open_socket(None) as bound:
            path = folder / "edge-audiokv.sock"
            assert bound.getsockname() == str(path) == str(default_path())
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()
    finally:
        os.umask(before)


def test_without_a_login_it_lies_in_the_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "new" / "cache"))
    with open_socket(None) as bound:
        assert bound.getsockname() == str(tmp_path / "new" / "cache" / "edge-audiokv.sock")
        assert stat.S_IMODE((tmp_path / "new" / "cache").stat().st_mode) == 0o700


def test_what_was_left_is_replaced_and_what_lives_stays_also_while_it_loads(folder) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(default_path()))
    with open_socket(None):  # nobody accepts yet
        with pytest.raises(EdgeAudioKVError, match="already") as caught, open_socket(None):
            pass
        assert "--events" in caught.value.cure
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(default_path()))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_change_is_refused(folder, mode) -> None:
    folder.chmod(mode)
    with pytest.raises(EdgeAudioKVError, match="others") as caught, open_socket(None):
        pass
    assert "--events" in caught.value.cure
    assert not default_path().exists()


def test_a_folder_of_somebody_else_is_refused(folder, monkeypatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(EdgeAudioKVError, match="Others"), open_socket(None):
        pass


@pytest.mark.parametrize("name", ["no/such/folder", "x" * 200, "file/below", "file"])
def test_a_path_that_cannot_be_is_told_and_nothing_is_overwritten(folder, name) -> None:
    (folder / "file").write_text("mine")
    with pytest.raises(EdgeAudioKVError) as caught, open_socket(folder / name):
        pass
    assert "--events" in caught.value.cure and "--uds" not in caught.value.cure
    assert (folder / "file").read_text() == "mine"


def test_a_platform_without_unix_sockets(monkeypatch) -> None:
    require_unix()
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(EdgeAudioKVError, match="no Unix sockets") as caught:
        require_unix()
    assert caught.value.cure
