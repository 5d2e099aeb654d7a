"""Files that appear whole or not at all, and files that only their owner reads."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PRIVATE_MODE = 0o600
# Names have at most 255 bytes nearly everywhere, and an unfinished file has a longer one.
_MOST_STEM_BYTES, _MOST_SUFFIX_BYTES = 200, 16
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def open_private(path: Path, *, append: bool = False) -> int:
    """A descriptor to write what was said to `path`, emptied unless `append`.

    A new file is its owner's alone, whatever the umask. One that is there keeps its mode: whoever
    made it has decided. A link that a person named is followed. Raises OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | _BINARY | (os.O_APPEND if append else os.O_TRUNC)
    return os.open(path, flags, PRIVATE_MODE)


def open_part(path: Path, *, append: bool = False) -> int:
    """A descriptor of an unfinished file under a name that anybody can guess.

    A link in its place is refused, so that nobody's file is overwritten. Raises OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | _NO_FOLLOW | _BINARY
    return os.open(path, flags | (os.O_APPEND if append else os.O_TRUNC), 0o644)


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """All of a file that somebody else made. Raises OSError, and ValueError if it has more."""
    with path.open("rb") as stream:
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"it has more than {most_bytes >> 20} MiB")
    return data


@contextmanager
def growing(path: Path, *, private: bool = False, locked: bool = True) -> Iterator[Path]:
    """A new file beside `path`, of an unguessable name; it takes `path`'s when the block ends.

    After an error, or a signal that raises one, it is gone and `path` is as it was. What a killed
    process has left of the same `path` goes first: a lock tells it from what somebody still writes.
    With `locked` False there is none, for who locks the file in another way. Unless `private`, it
    gets the mode that the umask gives to any file. Raises OSError.
    """
    prefix, suffix = _part_name(path)
    if locked:
        _remove_left(path.parent, prefix, suffix)
    handle, part = _new_part(path.parent, prefix, suffix)
    try:
        if fcntl is None or not locked:
            os.close(handle)
            handle = -1
        yield part
        if not private:
            part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        if handle >= 0:
            os.close(handle)


def _part_name(path: Path) -> tuple[str, str]:
    """How the name of an unfinished file begins and ends; it fits wherever `path`'s does."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _MOST_SUFFIX_BYTES else ""
    stem = os.fsencode(path.stem)[:_MOST_STEM_BYTES].decode(errors="ignore")
    return f".{stem}.", f".part{suffix}"


def _new_part(folder: Path, prefix: str, suffix: str) -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=suffix)
        if fcntl is not None:
            with suppress(OSError):  # a disk that knows no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        # Another process may have taken it for left before it was locked.
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _remove_left(folder: Path, prefix: str, suffix: str) -> None:
    """Remove unfinished files of that name, and of this user, that nobody writes any more."""
    if fcntl is None:
        return
    left = re.compile(rf"{re.escape(prefix)}[a-z0-9_]{{8}}{re.escape(suffix)}")
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.path for entry in entries if left.fullmatch(entry.name)]
        for name in names:
            with suppress(OSError):  # it went, it is a link, it is not ours, it is locked
                handle = os.open(name, os.O_RDWR | os.O_NONBLOCK | _NO_FOLLOW)
                try:
                    status = os.fstat(handle)
                    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        os.unlink(name)
                finally:
                    os.close(handle)


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` to `path`, whole or not at all. Raises OSError."""
    with growing(path, private=private) as part:
        part.write_text(text, encoding="utf-8")


def _umask() -> int:
    # There is no other way to ask; files made meanwhile by another thread are private for once.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
