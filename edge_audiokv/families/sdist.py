"""llama.cpp's converter, out of the very sdist that the native library was built from."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from edge_audiokv.errors import DownloadError, ModelError
from edge_audiokv.models.cache import alone_in, cache_directory, file_sha256, is_offline

_WANTED = ("conversion/", "gguf-py/gguf/", "LICENSE")
# The whole sdist has fewer; an archive without end is not read to its end.
_MOST_MEMBERS = 100_000
_ENV = "EDGE_AUDIOKV_LLAMA_SDIST"


def read_pin() -> dict[str, str]:
    """Name, version, file and sha256 of the sdist: patches/UPSTREAM, installed beside this."""
    here = Path(__file__).resolve()
    for path in (here.parent / "UPSTREAM", here.parents[2] / "patches" / "UPSTREAM"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            return dict(line.split(None, 1) for line in lines if line.strip())
    raise ModelError("This installation lacks UPSTREAM.", cure="Install edge-audiokv again.")


def find_sdist() -> Path:
    """The verified sdist: the one that the environment names, the cached one, or a download.

    Raises DownloadError if it cannot be fetched or is not the pinned one.
    """
    pin = read_pin()
    given = os.environ.get(_ENV)
    path = Path(given) if given else cache_directory() / "sdist" / pin["file"]
    if not path.is_file() and not given:
        with alone_in(path.parent):
            if not path.is_file():
                _fetch(pin, path)
    try:
        actual = file_sha256(path)
    except OSError as error:
        raise DownloadError(
            f"{path} cannot be read: {error.strerror or error}.", cure=f"Mend {_ENV}."
        ) from None
    if actual != pin["sha256"]:
        raise DownloadError(
            f"{path} is not the {pin['file']} that this program was built from.",
            cure=f"Delete it, or set {_ENV} to another copy.",
        )
    return path


def extract_converter(folder: Path) -> Path:
    """Write the converter and its gguf into `folder`; the folder to import `conversion` from.

    Raises DownloadError as `find_sdist` does, OSError.
    """
    pin = read_pin()
    root = f"{pin['name']}-{pin['version']}/vendor/llama.cpp/"
    with tarfile.open(find_sdist()) as archive:
        for count, member in enumerate(archive):
            name = member.name.removeprefix(root)
            if count > _MOST_MEMBERS:
                break
            # Only plain files under names that we chose, though the archive is verified.
            if not member.isfile() or name == member.name or not name.startswith(_WANTED):
                continue
            target = (folder / name).resolve()
            source = archive.extractfile(member)
            if source is None or not target.is_relative_to(folder.resolve()):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())
    return folder


def _fetch(pin: dict[str, str], path: Path) -> None:
    requirement = f"{pin['name']}=={pin['version']}"
    cure = f"Get {pin['file']} by other means and set {_ENV} to its path."
    if is_offline():
        raise DownloadError(f"{requirement} is not here, and offline mode is on.", cure=cure)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        # What the build does, too: the source archive alone, nothing of it is run.
        command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", ":all:", "--no-build-isolation", "--dest", scratch, requirement]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, cwd=scratch, check=False
        )
        made = Path(scratch) / pin["file"]
        if done.returncode != 0 or not made.is_file():
            raise DownloadError(f"Cannot fetch {requirement}.", cure=cure)
        made.replace(path)
