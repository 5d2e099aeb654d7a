"""Where the socket lies: with what belongs to one person's login, or else in the cache folder."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.models.cache import cache_directory
from edge_audiokv.server.listening import open_unix, with_cure

NAME = "edge-audiokv.sock"
_CURE = "Stop what is there, or name a path in a folder of yours alone: --events PATH"


def default_path() -> Path:
    """What `serve --events` and `client` agree on without being told."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return (Path(folder) if folder else cache_directory()) / NAME


def require_unix() -> None:
    """Raises EdgeAudioKVError on platforms without Unix sockets."""
    if not hasattr(socket, "AF_UNIX"):
        raise EdgeAudioKVError(
            "There are no Unix sockets on this platform, which the event stream needs.",
            cure="Use HTTP: edge-audiokv serve",
        )


@contextlib.contextmanager
def open_socket(path: Path | None) -> Iterator[socket.socket]:
    """A socket at `path` that its owner alone can reach, in a folder that nobody else can change.

    Raises EdgeAudioKVError that says what to do.
    """
    require_unix()
    if path is None:
        path = default_path()
        with contextlib.suppress(OSError):  # told below
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_folder(path.absolute().parent)
    with contextlib.ExitStack() as stack:
        with with_cure(_CURE):
            bound = stack.enter_context(open_unix(path))
        yield bound


def _check_folder(folder: Path) -> None:
    """Whoever may rename files in a folder may put a socket of theirs in the place of ours."""
    try:
        status = folder.stat()
    except OSError as error:
        raise EdgeAudioKVError(
            f"{folder} cannot be used: {error.strerror or error}.", cure=_CURE
        ) from None
    others = stat.S_IWGRP | stat.S_IWOTH
    if status.st_uid != os.geteuid() or status.st_mode & others:
        raise EdgeAudioKVError(f"Others can change what lies in {folder}.", cure=_CURE)
