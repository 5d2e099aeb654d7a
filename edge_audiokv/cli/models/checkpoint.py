"""A checkpoint as people name it: a folder, or a name of the hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_audiokv.cli import voice
from edge_audiokv.models.cache import is_offline
from edge_audiokv.units import printable

if TYPE_CHECKING:
    from edge_audiokv.families.hub.name import HubName
    from edge_audiokv.families.hub.repository import Repository


@dataclass(frozen=True)
class Located:
    """Where a checkpoint is. `repository` is the hub's while weights may be missing in `folder`,
    and `commit` is empty for a person's own folder.
    """

    folder: Path
    name: HubName | None = None
    commit: str = ""
    repository: Repository | None = None

    @property
    def missing_bytes(self) -> int:
        """What is still to be fetched."""
        from edge_audiokv.families.hub.repository import missing_weights

        if self.repository is None:
            return 0
        return sum(missing_weights(self.repository, self.folder).values())

    def shares_disk(self, model: Path) -> bool:
        """Is what is fetched written to the disk of `model`, a folder that is to be made?"""
        return self.folder.stat().st_dev == model.absolute().parent.stat().st_dev

    def stated(self, model: Path) -> str:
        """As the entry of a model in the folder `model` states it; see `models.source`."""
        if self.name is not None:
            return f"{self.name.repository}@{self.commit}"
        try:
            return os.path.relpath(self.folder.absolute(), model.absolute())
        except ValueError:  # another drive of Windows
            return str(self.folder.absolute())

    @contextmanager
    def outline(self) -> Iterator[Path]:
        """A folder with all but the numbers: the checkpoint's own if it is whole."""
        if self.repository is None or not self.missing_bytes:
            yield self.folder
            return
        from edge_audiokv.families.hub.outline import outline

        with outline(self.repository, self.folder) as made:
            yield made

    def fetch(self, progress: Callable[[str, int, int], None]) -> Path:
        """The folder with all that is needed in it. Raises DownloadError."""
        if self.repository is not None:
            from edge_audiokv.families.hub.repository import fetch_weights

            fetch_weights(self.repository, self.folder, progress)
        return self.folder


def locate(text: str) -> Located:
    """Find a checkpoint; of one on the hub all is fetched but its weights.

    A folder of that name comes first. Raises DownloadError, and ModelError for a repository that
    holds none that could be converted.
    """
    from edge_audiokv.families.hub.name import parse

    folder, name = Path(os.path.expanduser(text)), parse(text)
    if name is None or os.path.lexists(folder):
        if name is not None and folder.is_dir():
            voice.note(f"{printable(text)} is a folder here: it is taken, not the hub's.")
        return Located(folder)
    # Imported here: for a folder nothing of the hub is needed.
    from edge_audiokv.families.hub import repository as hub
    from edge_audiokv.families.hub.cached import cached
    from edge_audiokv.families.hub.faults import Unreachable

    hub.quiet()
    if is_offline() or name.is_pinned:
        try:
            kept, commit = cached(name)
            return Located(kept, name, commit)
        except Unreachable:
            if is_offline():
                raise
    try:
        found = hub.look(name)
    except Unreachable as error:
        try:
            kept, commit = cached(name)
        except Unreachable:
            raise error from None
        voice.warn(f"{error.what} What is in the cache is taken: {commit[:12]}.")
        return Located(kept, name, commit)
    return Located(hub.fetch_small(found), name, found.commit, found)
