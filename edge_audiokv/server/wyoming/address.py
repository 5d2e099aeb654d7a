"""Where Wyoming is spoken: this machine alone, for the protocol knows no key."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from edge_audiokv.errors import InputError
from edge_audiokv.server.listening import is_loopback, open_tcp, open_unix, with_cure

PORT = 10300
_FORMS = f"Use tcp://127.0.0.1:{PORT}, or unix:///run/user/1000/edge-audiokv-wyoming.sock"


@contextlib.contextmanager
def open_address(uri: str) -> Iterator[socket.socket]:
    """A bound socket for `uri`. Raises EdgeAudioKVError that says what to do."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"{uri!r} is no address of Wyoming.", cure=_FORMS) from None
    path = parts.netloc + parts.path
    on_unix = parts.scheme == "unix" and bool(path)
    if not on_unix and (parts.scheme != "tcp" or not host or parts.path not in ("", "/")):
        raise InputError(f"{uri!r} is no address of Wyoming.", cure=_FORMS)
    if host and not on_unix and not is_loopback(host):
        raise InputError(
            f"{host} would let anybody in: Wyoming knows no key.",
            cure=f"Use tcp://127.0.0.1:{PORT}, and a tunnel from the other machine: "
            f"ssh -L {PORT}:127.0.0.1:{PORT} HOST",
        )
    with contextlib.ExitStack() as stack:
        with with_cure(f"Name another place. {_FORMS}"):
            at = PORT if port is None else port
            opened = open_unix(Path(path)) if on_unix else open_tcp(host or "", at)
            bound = stack.enter_context(opened)
        yield bound
