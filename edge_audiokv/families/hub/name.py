"""OWNER/NAME, or OWNER/NAME@REVISION: how a checkpoint of the hub is called."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]{{0,199}}))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"


@dataclass(frozen=True)
class HubName:
    """A repository, and what of it: a branch, a tag or a commit."""

    repository: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.repository if self.revision == MAIN else f"{self.repository}@{self.revision}"

    @property
    def is_pinned(self) -> bool:
        """Does it name a commit, which never changes?"""
        return COMMIT.fullmatch(self.revision) is not None


def parse(text: str) -> HubName | None:
    """The name in `text`, or None if it is none: a path, say."""
    match = _NAME.fullmatch(text)
    if match is None or ".." in text or "--" in text:  # neither is the hub's
        return None
    return HubName(match[1], match[2] or MAIN)
