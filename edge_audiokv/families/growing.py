"""A folder that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
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
# In it: what is to become the folder, and what is done of it.
_MODEL, JOURNAL = "model", "done.json"


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


def left(folder: Path) -> Path | None:
    """What a run that was broken off has kept for `folder`, if there is something."""
    with suppress(OSError):
        for path in folder.absolute().parent.iterdir():
            if _is_part(path.name, folder) and (path / JOURNAL).is_file():
                return path
    return None


def left_bytes(folder: Path, key: str) -> int:
    """How much of a job's disk is taken already: by what a run that was broken off has left."""
    made = _part(folder, key) / _MODEL
    return sum(path.stat().st_size for path in made.iterdir()) if made.is_dir() else 0


@contextmanager
def growing_folder(folder: Path, key: str = "") -> Iterator[Path]:
    """A new folder beside `folder`; it takes `folder`'s place when the block ends.

    What is in it gets the mode that the umask gives to any file. After an error it is gone. With
    the `key` of a job it stays after a signal, if its journal says that something is done, and is
    what the next run of that job is given. What a killed run of another job has left of the same
    name goes first: a lock tells it from what somebody still writes. Raises OutputError.
    """
    check_target(folder)
    parent = folder.absolute().parent
    handle, part = None, _part(folder, key)
    try:
        _remove_left(folder, but=part.name if key else "")
        if key:
            handle = _take_up(folder, part)
        else:
            part = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}.", suffix=_SUFFIX))
            handle, _ = _locked(part)
        made = part / _MODEL
        made.mkdir(exist_ok=True)
        keeps = False
        try:
            yield made
        except BaseException as error:
            # Of a signal, not of an error: who mends that may well give another name.
            keeps = bool(key) and not isinstance(error, Exception) and (part / JOURNAL).is_file()
            raise
        else:
            mask = _umask()
            for path in made.rglob("*"):
                os.chmod(path, (0o777 if path.is_dir() else 0o666) & ~mask)
            os.chmod(made, 0o777 & ~mask)
            os.replace(made, folder)
        finally:
            if not keeps:
                shutil.rmtree(part, ignore_errors=True)
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
        if handle is not None:
            os.close(handle)


def _part(folder: Path, key: str) -> Path:
    return folder.absolute().parent / f".{folder.name}.{key}{_SUFFIX}"


def _take_up(folder: Path, part: Path) -> int | None:
    """The lock of a job's folder, which is made unless a broken-off run has left it."""
    while True:
        with suppress(FileExistsError):
            part.mkdir(mode=0o700)
        status = part.lstat()
        mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        if not stat.S_ISDIR(status.st_mode) or not mine:
            raise OutputError(f"{part} is not ours.", cure="Remove it, or give another -o.")
        handle, busy = _locked(part)
        if busy:
            raise OutputError(
                f"Another process is making {folder}.", cure="Wait for it, or give another -o."
            )
        # Whoever held it until now may be done with it, and have removed it.
        if handle is None or (part.is_dir() and os.path.samestat(os.fstat(handle), part.stat())):
            return handle
        os.close(handle)


def _locked(folder: Path) -> tuple[int | None, bool]:
    """A handle that holds the lock of a folder, and whether somebody else holds it."""
    if fcntl is None:
        return None, False
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None, True
    except OSError:  # a disk that knows no locks
        os.close(handle)
        return None, False
    return handle, False


def _remove_left(folder: Path, *, but: str) -> None:
    with suppress(OSError):
        for path in folder.absolute().parent.iterdir():
            ours = path.name != but and _is_part(path.name, folder)
            if ours and path.is_dir() and not path.is_symlink():
                handle, _ = _locked(path)
                if handle is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(handle)


def _is_part(name: str, folder: Path) -> bool:
    # By its whole form: .a.b.xxxxxxxx.part is not of the folder a.
    form = rf"\.{re.escape(folder.name)}\.[a-z0-9_]{{8}}{re.escape(_SUFFIX)}"
    return re.fullmatch(form, name) is not None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
