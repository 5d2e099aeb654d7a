"""A folder that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from edge_audiokv.errors import OutputError
from edge_audiokv.models.naming import fault_of_text

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_SUFFIX = ".part"


def check_target(folder: Path) -> None:
    """OutputError if a folder cannot be made there, or something lies there already."""
    fault = fault_of_text(folder.name)
    if fault is not None:
        raise OutputError(
            f"The name of {folder} {fault}.", cure="Give another -o: it is the model's name."
        )
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        raise OutputError(f"{folder} is there already.", cure="Give another -o, or remove it.")
    if not folder.absolute().parent.is_dir():
        raise OutputError(
            f"There is no directory {folder.absolute().parent}.", cure="Make it first: mkdir -p"
        )
    if not os.access(folder.absolute().parent, os.W_OK):
        raise OutputError(
            f"{folder} may not be written.", cure="Name a folder in a directory of yours."
        )


def check_room(folder: Path, needed_bytes: int) -> None:
    """OutputError if the disk that `folder` will lie on has less room than that."""
    from edge_audiokv.units import format_bytes

    free = shutil.disk_usage(folder.absolute().parent).free
    if free < needed_bytes:
        raise OutputError(
            f"{folder} needs {format_bytes(needed_bytes)} on the way, and its disk has"
            f" {format_bytes(free)} left.",
            cure="Free some space, or name a folder on another disk.",
        )


@contextmanager
def growing_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`; it takes `folder`'s place when the block ends.

    What is in it gets the mode that the umask gives to any file. After an error, or a signal that
    raises one, it is gone. What a killed run has left of the same name goes first: a lock tells it
    from what somebody still writes. Raises OutputError.
    """
    check_target(folder)
    parent = folder.absolute().parent
    prefix = f".{folder.name}."
    _remove_left(parent, prefix)
    part = Path(tempfile.mkdtemp(dir=parent, prefix=prefix, suffix=_SUFFIX))
    handle = _locked(part)
    try:
        yield part
        mask = _umask()
        for path in part.rglob("*"):
            os.chmod(path, (0o777 if path.is_dir() else 0o666) & ~mask)
        os.chmod(part, 0o777 & ~mask)
        os.replace(part, folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise OutputError(
                f"{folder} is there already.", cure="Give another -o, or remove it."
            ) from None
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}.",
            cure="Free some space, or name a folder on another disk.",
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _locked(folder: Path) -> int | None:
    """A handle that holds the lock of a folder; None where there are none, or it is not free."""
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _remove_left(parent: Path, prefix: str) -> None:
    with suppress(OSError):
        for path in parent.iterdir():
            ours = path.name.startswith(prefix) and path.name.endswith(_SUFFIX)
            if ours and path.is_dir() and not path.is_symlink():
                handle = _locked(path)
                if handle is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(handle)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
