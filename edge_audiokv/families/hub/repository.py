"""A checkpoint on the hub: looked at first, then fetched into the hub's cache.

The hub's own client keeps the cache and asks for everything small. Weights are fetched here, since
that client begins a file anew after a kill; what arrived lies where it would put it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge_audiokv.errors import DownloadError
from edge_audiokv.families.hub import choice
from edge_audiokv.families.hub.faults import told
from edge_audiokv.families.hub.name import COMMIT, HubName
from edge_audiokv.files import write_whole
from edge_audiokv.models.cache import file_sha256
from edge_audiokv.models.download import check_space
from edge_audiokv.models.http import fetch_url
from edge_audiokv.units import format_bytes

Progress = Callable[[str, int, int], None]
# Addresses of weights are good for an hour or so; then the hub is asked for new ones.
_MOST_RENEWALS = 24


@dataclass(frozen=True)
class Repository:
    """What the hub has under a name at one commit. `sizes` and `hashes` are of its files; files
    that are not large have no hash.
    """

    name: HubName
    commit: str
    sizes: dict[str, int]
    hashes: dict[str, str]

    def __str__(self) -> str:
        return f"{self.name.repository}@{self.commit}"


def cache_directory() -> Path:
    """Where the hub's client keeps what it fetches: HF_HUB_CACHE, or below HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or its own."""
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def quiet() -> None:
    """From here on the hub's client draws and says nothing by itself, also to its makers."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, logging

    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)


@contextmanager
def network() -> Iterator[None]:
    """Within, the hub's client may ask the network, whatever transformers was told."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def look(name: HubName) -> Repository:
    """The commit that `name` means now, and its files. Raises DownloadError."""
    from huggingface_hub import HfApi

    with network(), told(name):
        found = HfApi(endpoint=endpoint()).model_info(
            name.repository, revision=name.revision, files_metadata=True
        )
    commit = found.sha or ""
    if COMMIT.fullmatch(commit) is None:
        raise DownloadError(f"The hub names no commit of {name}.", cure="Check HF_ENDPOINT.")
    sizes, hashes = {}, {}
    for file in found.siblings or ():
        sizes[file.rfilename] = int(file.size or 0)
        if file.lfs is not None:
            sizes[file.rfilename] = int(file.lfs.size)
            hashes[file.rfilename] = str(file.lfs.sha256)
    return Repository(name, commit, sizes, hashes)


def fetch_small(repository: Repository) -> Path:
    """The folder of the cache, with everything but the weights in it. Raises DownloadError, and
    ModelError if the repository is no checkpoint with safetensors.
    """
    names = choice.small_files(repository.sizes, str(repository.name))
    _check_room(sum(repository.sizes[name] for name in names))
    for name in names:
        folder = _by_client(repository, name).parents[name.count("/")]
    _remember(repository, folder)
    return folder


def _remember(repository: Repository, folder: Path) -> None:
    """Note which commit a branch or tag means, for who has no network later."""
    if not repository.name.is_pinned:
        with told(repository.name):
            place = folder.parents[1] / "refs" / repository.name.revision
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, repository.commit)


def missing_weights(repository: Repository, folder: Path) -> dict[str, int]:
    """Weights that are not in `folder` yet, and how many bytes of each are still to be fetched."""
    names = choice.weight_files(folder, repository.sizes, str(repository.name))
    return {
        name: repository.sizes[name] - _have_bytes(repository, folder, name)
        for name in names
        if not (folder / name).exists()
    }


def fetch_weights(repository: Repository, folder: Path, progress: Progress) -> None:
    """Bring every file of the weights into `folder`; what a killed run has fetched is kept.

    Raises DownloadError, also if the disk has no room for it.
    """
    missing = missing_weights(repository, folder)
    if not missing:
        return
    _check_room(sum(missing.values()))
    total = sum(repository.sizes[name] for name in missing)
    what, done = f"fetch {repository.name} ({format_bytes(sum(missing.values()))})", 0
    for name in missing:
        progress(what, done, total)
        _fetch(repository, folder, name, _after(done, what, total, progress))
        done += repository.sizes[name]
    progress(what, total, total)


def _after(before: int, what: str, total: int, progress: Progress) -> Callable[[int], None]:
    return lambda have: progress(what, before + have, total)


def _fetch(
    repository: Repository, folder: Path, name: str, progress: Callable[[int], None]
) -> None:
    part = _part(repository, folder, name)
    # Where weights lie nobody asks who we are; where somebody does, the client must answer.
    if part is not None and _is_apart(_location(repository, name)):
        _grow(repository, name, part, progress)
        with told(repository.name):
            found, wanted = file_sha256(part), repository.hashes[name]
            if found != wanted:
                part.unlink()
                raise DownloadError(
                    f"{name} of {repository.name} arrived with sha256 {found[:12]}..., not"
                    f" {wanted[:12]}...; it was removed.",
                    cure="Try again; if it stays so, the mirror in HF_ENDPOINT is at fault.",
                )
            os.replace(part, part.with_suffix(""))
    _by_client(repository, name)  # finds it there and links it


def _grow(repository: Repository, name: str, part: Path, progress: Callable[[int], None]) -> None:
    for attempt in range(_MOST_RENEWALS):
        before = _size(part)
        location = _location(repository, name)
        try:
            with told(repository.name):
                fetch_url(location, part, repository.sizes[name], progress)
            return
        except DownloadError:
            if _size(part) <= before or attempt + 1 == _MOST_RENEWALS:
                raise


def _location(repository: Repository, name: str) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(
        repository.name.repository, name, revision=repository.commit, endpoint=endpoint()
    )
    with network(), told(repository.name):
        return str(get_hf_file_metadata(url, endpoint=endpoint()).location)


def _is_apart(location: str) -> bool:
    from huggingface_hub import get_token

    return urlsplit(location).netloc != urlsplit(endpoint()).netloc or get_token() is None


def _by_client(repository: Repository, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    with network(), told(repository.name):
        return Path(
            hf_hub_download(
                repository.name.repository,
                name,
                revision=repository.commit,
                cache_dir=cache_directory(),
                endpoint=endpoint(),
            )
        )


def _part(repository: Repository, folder: Path, name: str) -> Path | None:
    """Where an unfinished file grows: beside the whole ones, under the client's own ending."""
    digest = repository.hashes.get(name, "")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        return None
    return folder.parents[1] / "blobs" / f"{digest}.incomplete"


def _have_bytes(repository: Repository, folder: Path, name: str) -> int:
    part = _part(repository, folder, name)
    if part is None:
        return 0
    if part.with_suffix("").is_file():
        return repository.sizes[name]
    return min(_size(part), repository.sizes[name])


def _size(part: Path | None) -> int:
    return part.stat().st_size if part is not None and part.is_file() else 0


def _check_room(needed_bytes: int) -> None:
    folder = cache_directory()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    check_space(folder, needed_bytes, variable="HF_HOME")
