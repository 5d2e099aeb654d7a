"""From a hearing to the `Final` that is told, with words and times if they were asked for."""

from __future__ import annotations

from dataclasses import replace

from edge_audiokv.engine.alignment.attention import align_by_attention
from edge_audiokv.engine.alignment.path import align
from edge_audiokv.engine.alignment.place import Alignment
from edge_audiokv.engine.alignment.times import timed
from edge_audiokv.engine.decoding.decode import pieces_of
from edge_audiokv.engine.finals.language import LanguageCheck
from edge_audiokv.engine.finals.loss import loss_of
from edge_audiokv.engine.finals.writing import as_written, each_as_written
from edge_audiokv.engine.recognizer import Heard, Recognizer
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.events import NO_WORDS, Final, Word
from edge_audiokv.kv.profile import load_profile
from edge_audiokv.kv.shape import FloatArray


class Finals:
    """Tells the finals of one recording or session.

    Texts are written with capitals and marks where the sound was read so, unless `plain_text` is
    set. Without `word_timestamps` nothing else is reckoned.
    Words are found by the encoder's own, or, if it names none, by what the LLM looks at when
    `recognizer` reads the text once more.
    """

    def __init__(self, runtime: Runtime, recognizer: Recognizer) -> None:
        settings, local = runtime.settings, runtime.local
        self._wanted, self._plain = settings.word_timestamps, settings.plain_text
        self._runtime, self._recognizer = runtime, recognizer
        self._frame_s = 1 / runtime.encoder.tokens_per_second
        # Who names the language is believed.
        languages = () if settings.language else local.entry.languages
        self._check = LanguageCheck(languages, frame_s=self._frame_s)
        self._loss: str | None = None
        self._heads: FloatArray | None = None
        if self._wanted and not runtime.encoder.words and local.profile_path is not None:
            self._heads = load_profile(local.profile_path).tables.get("speech")

    def tell(self, final: Final, heard: Heard) -> Final:
        """`final` with its words, if they were asked for; `heard` is what it was made of."""
        self._check.hear(heard.sound)
        self._loss = loss_of(final)
        text = final.text if self._plain else as_written(final.text, heard.sound.reading)
        if not text.strip():
            final = replace(final, flags=(*final.flags, NO_WORDS))
        if not self._wanted:
            return replace(final, text=text)
        alignment = self._align(heard)
        words = timed(alignment, frame_s=self._frame_s, start_s=final.start_s)
        # The sound is padded to whole rows, past the segment's end.
        written = each_as_written([word.text for word in words], text)
        inside = tuple(
            Word(shown, min(w.start_s, final.end_s), min(w.end_s, final.end_s), w.confidence)
            for w, shown in zip(words, written, strict=True)
        )
        return replace(final, text=text, words=inside, confidence=alignment.confidence)

    def take_warnings(self) -> list[str]:
        """What should be said of the last final, each once: its language, words that are lost."""
        warnings = [self._check.take_warning(), self._loss]
        self._loss = None
        return [warning for warning in warnings if warning is not None]

    def _align(self, heard: Heard) -> Alignment:
        runtime, text = self._runtime, heard.decoded.text
        if runtime.encoder.words:
            floor = runtime.words_heard.floor
            return align(text, heard.sound, runtime.words, floor=floor)
        attention, chances = self._recognizer.read_back(heard, self._heads)
        pieces = pieces_of(runtime.model, heard.decoded.ids)
        return align_by_attention(text, pieces, attention, chances)
