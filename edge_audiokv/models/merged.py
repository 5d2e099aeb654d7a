"""Merged GGUFs in the cache: where they lie, whose they are, and which nobody needs any more.

<cache>/merged/<12 digits of the hashes>/merged.<kind>.gguf
<cache>/merged/<...>/merged.<kind>.gguf.json     its size, time and hashes when it was made
<cache>/merged/owners.json      the merged file of each model, and old ones that are in use
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from .cache import cache_directory, file_sha256, write_atomic
from .entry import ModelEntry
from .fingerprint import fingerprint

_OURS = re.compile(r"[0-9a-f]{12}/merged\.[a-z0-9_]+\.gguf")


def merged_path(base_hash: str, lora_hash: str, kind: str) -> Path:
    """Where the merged file of these two lies or will lie; their hashes name it."""
    name = sha256(f"{base_hash}:{lora_hash}:{kind}".encode()).hexdigest()[:12]
    return _root() / name / f"merged.{kind}.gguf"


def seal(path: Path) -> None:
    """Note what the file made just now holds, so that damage is seen later."""
    status = path.stat()
    facts = {
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sampled": fingerprint(path),
        "sha256": file_sha256(path),
    }
    write_atomic(_seal_path(path), json.dumps(facts, indent=1).encode())


def is_sound(
    path: Path, *, whole: bool = False, progress: Callable[[int], None] | None = None
) -> bool:
    """True if `path` holds what it held when it was made.

    By size, time and blocks from all over the file (about 10 ms); by every byte if `whole`, or if
    the time has changed. No package or server states these bytes: nobody else could notice.
    """
    try:
        facts = json.loads(_seal_path(path).read_text(encoding="utf-8"))
        status = path.stat()
        if status.st_size != facts["size_bytes"] or fingerprint(path) != facts["sampled"]:
            return False
        if not whole and status.st_mtime_ns == facts["mtime_ns"]:
            return True
        if file_sha256(path, progress) != facts["sha256"]:
            return False
        if status.st_mtime_ns != facts["mtime_ns"]:
            seal(path)
        return True
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def forget(entry: ModelEntry, path: Path | None = None, others: Collection[ModelEntry] = ()) -> int:
    """Delete the merged file of `entry` unless another model has use for it; the bytes freed.

    A copy of the same name that made the same file, such as an installed model's among the sources,
    is no other model unless it is one of `others`. `path` is what the files of `entry` merge to, if
    they are here: it may have been made by a copy alone.
    """
    owners, old = _read()
    own = _owner(entry)
    names = {owners[own]} if own in owners else set()
    if path is not None:
        names.add(path.relative_to(_root()).as_posix())
    kept, label = {_owner(other) for other in others} - {own}, Path(own).name
    owners = {
        owner: name
        for owner, name in owners.items()
        if owner in kept or (owner != own and not (name in names and Path(owner).name == label))
    }
    freed_bytes = 0
    for name in sorted(names - {*owners.values()}):
        size_bytes = 0
        with contextlib.suppress(OSError):
            size_bytes = (_root() / name).stat().st_size
        if _delete(_root() / name):
            freed_bytes += size_bytes
        else:
            old.append(name)
    if names:
        _write(owners, sorted({*old} - {*owners.values()}))
    return freed_bytes


def claim(entry: ModelEntry, path: Path) -> None:
    """Note that `path` is the merged file of `entry`, and delete those that no model has use for.

    Only files that were noted here before are deleted: those of this model's earlier weights, and
    of models whose directory is gone. One that cannot be deleted, as Windows refuses while another
    process has it mapped, is tried again the next time.
    """
    owners, old = _read()
    owner = _owner(entry)
    name = path.relative_to(_root()).as_posix()
    if owners.get(owner) == name and not old:
        return
    noted = {*owners.values(), *old}
    kept = {other: file for other, file in owners.items() if Path(other).parent.is_dir()}
    kept[owner] = name
    left = sorted(file for file in noted - {*kept.values()} if not _delete(_root() / file))
    if (kept, left) != (owners, old):
        _write(kept, left)


def _owner(entry: ModelEntry) -> str:
    # The name too: one directory may hold several TOML files.
    return str(entry.directory.resolve() / quote(entry.name, safe=""))


def _write(owners: dict[str, str], old: list[str]) -> None:
    # A cache that cannot be written only keeps a file too many.
    with contextlib.suppress(OSError):
        text = json.dumps({"owners": owners, "old": old}, indent=1)
        write_atomic(_index_path(), text.encode())


def _delete(path: Path) -> bool:
    """True if the file is gone. Its directory goes with it, if nothing else lies there."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        _seal_path(path).unlink(missing_ok=True)
        path.parent.rmdir()
    return not path.exists()


def _seal_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _root() -> Path:
    return cache_directory() / "merged"


def _index_path() -> Path:
    return _root() / "owners.json"


def _read() -> tuple[dict[str, str], list[str]]:
    """Owner -> its file, and old files; whatever is not a name that we give is left out."""
    try:
        index = json.loads(_index_path().read_text(encoding="utf-8"))
        owners, old = dict(index["owners"]), list(index["old"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}, []
    return (
        {str(owner): file for owner, file in owners.items() if _OURS.fullmatch(str(file))},
        [file for file in old if _OURS.fullmatch(str(file))],
    )
