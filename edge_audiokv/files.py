"""Files that appear whole or not at all, and files that only their owner reads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE_MODE = 0o600
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
def growing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A new file beside `path`, of an unguessable name; it takes `path`'s when the block ends.

    After an error, or a signal that raises one, it is gone and `path` is as it was. Unless
    `private`, it gets the mode that the umask gives to any file. Raises OSError.
    """
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem}.", suffix=f".part{path.suffix}"
    )
    part = Path(name)
    try:
        os.close(handle)
        yield part
        if not private:
            part.chmod(0o666 & ~_umask())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str, *, private: bool = False) -> None:
    """Write `text` to `path`, whole or not at all. Raises OSError."""
    with growing(path, private=private) as part:
        part.write_text(text, encoding="utf-8")


def _umask() -> int:
    # There is no other way to ask; files made meanwhile by another thread are private for once.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
