"""All that was fetched or made here, for any model or build: how much it is, and away with it.

What is deleted has a place and a name that we give: a cache may lie in a folder with other things.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from .cache import cache_directory

_HASH = "[0-9a-f]" * 12
# Fetched files, merged ones with the index of whose they are, quantised ones that were compared,
# and what the build was made from.
_OURS = (
    f"files/{_HASH}",
    f"merged/{_HASH}",
    f"quants/{_HASH}",
    "merged/owners.json",
    "sdist/llama_cpp_python-*.tar.gz",
    "verified.json",
    "probed.json",
)


def cached_bytes() -> int:
    """Bytes of all that `empty` would delete."""
    return sum(_size_bytes(path) for path in _found())


def empty() -> int:
    """Delete it; the bytes freed. What cannot be deleted, as it is in use, stays."""
    freed_bytes = 0
    for path in list(_found()):
        size_bytes = _size_bytes(path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
        freed_bytes += size_bytes - (_size_bytes(path) if path.exists() else 0)
    for name in ("files", "merged", "quants", "sdist"):
        with contextlib.suppress(OSError):
            (cache_directory() / name).rmdir()
    return freed_bytes


def _found() -> Iterator[Path]:
    root = cache_directory()
    for pattern in _OURS:
        for path in root.glob(pattern):
            if not path.is_symlink() and not path.parent.is_symlink():
                yield path


def _size_bytes(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() else iter([path])
    return sum(each.lstat().st_size for each in inside if each.is_file() or each.is_symlink())
