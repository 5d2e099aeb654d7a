"""From a hearing to the `Final` that is told, with words and times if they were asked for."""

from __future__ import annotations

from dataclasses import replace

from edge_audiokv.engine.alignment.path import align
from edge_audiokv.engine.alignment.place import Alignment
from edge_audiokv.engine.alignment.times import timed
from edge_audiokv.engine.finals.language import LanguageCheck
from edge_audiokv.engine.recognizer import Heard
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.events import Final


class Finals:
    """Tells the finals of one recording or session.

    Without `word_timestamps` in the settings nothing is reckoned and finals pass as they are.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings, entry = runtime.settings, runtime.local.entry
        self._wanted = settings.word_timestamps
        self._encoder = runtime.encoder
        self._floor = runtime.words_heard.floor
        # Who names the language is believed.
        languages = () if settings.language else entry.languages
        self._check = LanguageCheck(languages, frame_s=1 / self._encoder.tokens_per_second)

    def tell(self, final: Final, heard: Heard) -> Final:
        """`final` with its words, if they were asked for; `heard` is what it was made of."""
        self._check.hear(heard.sound)
        if not self._wanted:
            return final
        alignment = self._align(final.text, heard)
        words = timed(alignment, frame_s=1 / self._encoder.tokens_per_second, start_s=final.start_s)
        # The sound is padded to whole rows, past the segment's end.
        inside = tuple(
            replace(w, start_s=min(w.start_s, final.end_s), end_s=min(w.end_s, final.end_s))
            for w in words
        )
        return replace(final, words=inside, confidence=alignment.confidence)

    def take_warning(self) -> str | None:
        """What should be said of the language, once; None if there is nothing to say."""
        return self._check.take_warning()

    def _align(self, text: str, heard: Heard) -> Alignment:
        return align(text, heard.sound, self._encoder.words, floor=self._floor)
