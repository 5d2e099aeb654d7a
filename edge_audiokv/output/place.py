"""Places that files are to be written to: what is wrong with one is told before the work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_audiokv.errors import OutputError
from edge_audiokv.output.base import output_error

SOUNDS = frozenset(
    f".{suffix}"
    for suffix in (
        *("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "aiff", "aif", "aifc", "au", "caf"),
        *("w64", "rf64", "m4a", "m4b", "mp4", "aac", "webm", "mkv", "mka", "mov", "wma"),
    )
)


def check_no_sound(path: Path, *, cure: str = "Give it another ending.") -> None:
    """OutputError if `path` has the name of a recording, which who mistypes would lose."""
    if path.suffix.lower() in SOUNDS:
        raise OutputError(
            f"{path} has the name of a sound; writing a result there could destroy one.", cure=cure
        )


def check_name(path: Path) -> None:
    """OutputError if no file can be called `path`, wherever its folder is still to be made."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # the folder will say so
    except OSError as error:  # a loop of links, a name that no file system takes
        raise output_error(str(path), error) from None
    if path.is_dir():
        raise OutputError(f"{path} is a directory.", cure="Name a file in it.")


def check_place(path: Path) -> None:
    """OutputError now rather than after an hour, if the file `path` cannot or must not be made."""
    check_no_sound(path)
    check_name(path)
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(
            f"There is no directory {folder}.", cure=f"Make it first: mkdir -p {folder}"
        )
    writable = path if path.exists() else folder
    if not os.access(writable, os.W_OK):
        raise OutputError(
            f"{path} may not be written.", cure="Name a file in a directory of yours."
        )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever keeps the file `path` from being written inside, as OutputError."""
    try:
        yield
    except OSError as error:
        raise output_error(str(path), error) from None
