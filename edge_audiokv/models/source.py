"""Where a converted model came from, as its entry states it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Checkpoint, and what an Ultravox keeps elsewhere: each a name of the hub with its commit
    (OWNER/NAME@COMMIT), or a folder relative to the model's own, which begins with a dot.
    """

    checkpoint: str
    llm: str = ""
    whisper: str = ""

    @property
    def parts(self) -> dict[str, str]:
        """Those that there are, by the names of the entry's fields."""
        return {name: value for name, value in vars(self).items() if value}
