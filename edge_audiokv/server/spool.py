"""What a client sends, on disk and not in memory: files without a name, gone when they are closed.

They lie in the cache folder: the usual folder for temporary files is often memory itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from edge_audiokv.errors import OutputError
from edge_audiokv.models.cache import cache_directory
from edge_audiokv.server.faults import ApiError, too_large


def spool_folder() -> Path:
    """The folder, its owner's alone. Raises OutputError if it cannot be made."""
    folder = cache_directory() / "uploads"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}.",
            cure="Set EDGE_AUDIOKV_CACHE to a folder of yours.",
        ) from None
    return folder


class Spool:
    """One private file that grows to at most `max_bytes`. Raises ApiError 413 beyond."""

    def __init__(self, folder: Path, max_bytes: int, *, what: str) -> None:
        # It has no name at any time on Linux; elsewhere it loses it when it is closed.
        self.file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
        self.n_bytes = 0
        self._max_bytes, self._what = max_bytes, what

    def write(self, data: bytes | memoryview) -> None:
        if self.n_bytes + len(data) > self._max_bytes:
            raise too_large(self._what, self._max_bytes, param=self._what)
        try:
            self.file.write(data)
        except OSError:
            raise ApiError(
                507, "there is no room left for uploads.", kind="server_error", code="disk_full"
            ) from None
        self.n_bytes += len(data)

    def close(self) -> None:
        self.file.close()
