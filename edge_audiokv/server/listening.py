"""The sockets that clients come to: loopback by default, and a Unix socket for its owner alone."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_audiokv.errors import EdgeAudioKVError


def is_loopback(host: str) -> bool:
    """Is `host`, an address or a name, this machine alone?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def open_tcp(host: str, port: int) -> socket.socket:
    """A socket bound to `host`; nobody can connect before it is listened on.

    Raises EdgeAudioKVError that says what to do.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise EdgeAudioKVError(
            f"There is no address {host}: {error}.", cure="Check --host."
        ) from None
    try:
        if os.name == "posix":  # elsewhere it would let others take the port over
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        bound.close()
        why = getattr(error, "strerror", None) or error
        raise EdgeAudioKVError(
            f"{host} port {port} cannot be used: {why}.",
            cure="Name another one: --port 8090, or 0 for any that is free.",
        ) from None
    return bound


@contextlib.contextmanager
def open_unix(path: Path) -> Iterator[socket.socket]:
    """A socket at `path` that its owner alone can reach; its file is gone in the end.

    One that a server has left behind is replaced. Clients may connect at once and are answered when
    somebody accepts them: what is bound and refuses would look left behind to the next server.
    Raises EdgeAudioKVError.
    """
    _remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Made private, not made so afterwards: in between anybody could come in.
        mask = os.umask(0o177)
        try:
            bound.bind(str(path))
        finally:
            os.umask(mask)
        bound.listen()
        made = path.stat()
    except OSError as error:
        bound.close()
        raise EdgeAudioKVError(
            f"{path} cannot be made: {error.strerror or error}.",
            cure="Name a short path in a folder of yours: --uds $XDG_RUNTIME_DIR/http.sock",
        ) from None
    try:
        yield bound
    finally:
        bound.close()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == made.st_ino:  # not one that somebody else has put there
                path.unlink()


@contextlib.contextmanager
def with_cure(cure: str) -> Iterator[None]:
    """For what was asked for by another option than the cures above name."""
    try:
        yield
    except EdgeAudioKVError as error:
        raise type(error)(error.what, cure=cure) from None


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise EdgeAudioKVError(f"{path} is there and is no socket.", cure="Name another path.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise EdgeAudioKVError(
                f"{path} cannot be used: {error.strerror or error}.", cure="Name another path."
            ) from None
    raise EdgeAudioKVError(
        f"A server is already listening at {path}.", cure="Stop it, or name another path."
    )
