"""What a session keeps of what was said, opened when it is wanted: SQLite takes a megabyte."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edge_audiokv.engine.runtime import Runtime

if TYPE_CHECKING:
    from edge_audiokv.archive.recording import Recording
    from edge_audiokv.engine.recall.recall import Recall


def open_recording(path: str | os.PathLike[str] | None, runtime: Runtime) -> Recording:
    """An archive at `path`, or in memory without one. Raises ArchiveError if `path` is none."""
    from edge_audiokv.archive.recording import Recording

    return Recording(path, model=runtime.settings.model).load()


def recall_from(recording: Recording, runtime: Runtime) -> Recall:
    """Finds what `recording` keeps. Raises UnfitModelError for a model that only transcribes."""
    from edge_audiokv.engine.recall.recall import Recall

    return Recall(recording, runtime.template, runtime.model)
