"""Where fetched files lie, and which files have been verified.

<cache>/files/<first 12 digits of sha256>/<name>    one copy, however many models use it
<cache>/verified.json                               path -> size, mtime, sha256
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from .entry import ModelFile

MAX_STAMPS = 256
_CHUNK_BYTES = 1 << 20
_TRUE = {"1", "true", "yes", "on"}


def cache_directory() -> Path:
    """`EDGE_AUDIOKV_CACHE`, or the platform's cache directory for this program."""
    override = os.environ.get("EDGE_AUDIOKV_CACHE")
    if override:
        return Path(os.path.expanduser(override))  # an unknown ~user stays as it is
    return Path(platformdirs.user_cache_dir("edge-audiokv", appauthor=False))


def is_offline() -> bool:
    """True if `EDGE_AUDIOKV_OFFLINE` or `HF_HUB_OFFLINE` says to fetch nothing."""
    names = ("EDGE_AUDIOKV_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() in _TRUE for name in names)


def cached_path(file: ModelFile) -> Path:
    """Where a fetched file lies or will lie."""
    return cache_directory() / "files" / str(file.sha256)[:12] / file.name


def file_sha256(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of the file, in hex. `progress` is told the bytes read so far."""
    digest = hashlib.sha256()
    done_bytes = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            done_bytes += len(chunk)
            if progress:
                progress(done_bytes)
    return digest.hexdigest()


def is_stamped(path: Path, sha256: str) -> bool:
    """True if this very file (size and mtime unchanged) was verified before."""
    return _read_stamps().get(str(path.resolve())) == _stamp(path, sha256)


def stamp(path: Path, sha256: str) -> None:
    """Remember that `path` was verified, so that the next start need not read it."""
    stamps = _read_stamps()
    stamps[str(path.resolve())] = _stamp(path, sha256)
    kept = dict(list(stamps.items())[-MAX_STAMPS:])
    # A cache that cannot be written only costs the next start its time.
    with contextlib.suppress(OSError):
        write_atomic(_stamps_path(), json.dumps(kept, indent=1).encode())


@contextlib.contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Let one process at a time make what belongs into `directory`; the others wait.

    The directory itself is locked, so that nothing is left behind. Where that cannot be done
    (Windows, some network disks) all go ahead: files still take their names whole.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl

        handle = os.open(directory, os.O_RDONLY)
    except (ImportError, PermissionError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file and a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _stamps_path() -> Path:
    return cache_directory() / "verified.json"


def _stamp(path: Path, sha256: str) -> list[int | str]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, sha256]


def _read_stamps() -> dict[str, object]:
    try:
        stamps = json.loads(_stamps_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return stamps if isinstance(stamps, dict) else {}
