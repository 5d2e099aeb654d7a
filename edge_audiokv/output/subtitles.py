"""What subtitle formats share: finals in, cues out, written as they become known."""

from __future__ import annotations

from abc import abstractmethod

from edge_audiokv.events import Event, Final
from edge_audiokv.output.base import TextSink, Writer
from edge_audiokv.output.cues import Cue, CueBuilder, CueRules


class SubtitleWriter(Writer):
    """Cues by `rules`. With words that have times a cue stands where they are said, otherwise
    about there.
    """

    def __init__(
        self, sink: TextSink, *, name: str = "the output", rules: CueRules | None = None
    ) -> None:
        super().__init__(sink, name=name)
        self._builder = CueBuilder(rules)
        self._n_cues = 0

    def _record(self, event: Event) -> str:
        if not isinstance(event, Final):
            return ""
        written = []
        for cue in self._builder.add(event):
            self._n_cues += 1
            written.append(self._cue(self._n_cues, cue))
        return "".join(written)

    @abstractmethod
    def _cue(self, number: int, cue: Cue) -> str:
        """One cue in the format, with the empty line that ends it."""
