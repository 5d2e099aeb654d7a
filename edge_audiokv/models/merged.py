"""Merged GGUFs in the cache: where they lie, whose they are, and which nobody needs any more.

<cache>/merged/<12 digits of the hashes>/merged.<kind>.gguf
<cache>/merged/owners.json      the merged file of each model, and old ones that are in use
"""

from __future__ import annotations

import contextlib
import json
import re
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from .cache import cache_directory, write_atomic
from .entry import ModelEntry

_OURS = re.compile(r"[0-9a-f]{12}/merged\.[a-z0-9_]+\.gguf")


def merged_path(base_hash: str, lora_hash: str, kind: str) -> Path:
    """Where the merged file of these two lies or will lie; their hashes name it."""
    name = sha256(f"{base_hash}:{lora_hash}:{kind}".encode()).hexdigest()[:12]
    return _root() / name / f"merged.{kind}.gguf"


def claim(entry: ModelEntry, path: Path) -> None:
    """Note that `path` is the merged file of `entry`, and delete those that no model has use for.

    Only files that were noted here before are deleted: those of this model's earlier weights, and
    of models whose directory is gone. One that cannot be deleted, as Windows refuses while another
    process has it mapped, is tried again the next time.
    """
    owners, old = _read()
    # The name too: one directory may hold several TOML files.
    owner = str(entry.directory.resolve() / quote(entry.name, safe=""))
    name = path.relative_to(_root()).as_posix()
    if owners.get(owner) == name and not old:
        return
    noted = {*owners.values(), *old}
    kept = {other: file for other, file in owners.items() if Path(other).parent.is_dir()}
    kept[owner] = name
    left = sorted(file for file in noted - {*kept.values()} if not _delete(_root() / file))
    if (kept, left) != (owners, old):
        # A cache that cannot be written only keeps a file too many.
        with contextlib.suppress(OSError):
            text = json.dumps({"owners": kept, "old": left}, indent=1)
            write_atomic(_index_path(), text.encode())


def _delete(path: Path) -> bool:
    """True if the file is gone. Its directory goes with it, if nothing else lies there."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()
    return not path.exists()


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
