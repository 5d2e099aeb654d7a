"""Text of the segment that is open: partials while it grows, the final text before it is asked for.

When speech pauses, the segment is decoded as it would end; if the pause turns out to be the end,
the final text is already there. Everything is decoded in a fresh, small context.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from edge_audiokv.audio.endpoint import Endpointer, Segment
from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.ahead import ReadAhead
from edge_audiokv.engine.recognizer import Heard, Recognizer

# A partial must not cost more than this share of the time between two of them.
_PARTIAL_SHARE = 0.25


@dataclass(frozen=True)
class Draft:
    """A decoded stretch: [start_sample, end_sample) of segment `id`. `final` if no better text was
    left to look for.
    """

    id: int
    start_sample: int
    end_sample: int
    heard: Heard
    final: bool

    @property
    def text(self) -> str:
        return self.heard.decoded.text

    def fits(self, segment: Segment) -> bool:
        """The draft is the text of exactly what `segment` holds."""
        return self.final and (self.id, self.start_sample, self.end_sample) == (
            segment.id,
            segment.start_sample,
            segment.end_sample,
        )


class Drafter:
    """Decides when the open segment is worth decoding, and keeps the last result."""

    def __init__(self, recognizer: Recognizer, *, interval_s: float) -> None:
        self.recognizer = recognizer
        self.interval_s = interval_s
        self.draft: Draft | None = None
        self.ahead = ReadAhead(recognizer)
        self._tried_s = 0.0
        self._cost_s = 0.0

    def reset(self) -> None:
        """A new segment has begun."""
        self.draft = None
        self.ahead.reset()
        self._tried_s = 0.0

    def look(self, endpointer: Endpointer, *, partials: bool) -> Draft | None:
        """Decode what is open if it is time to; the new draft, or None."""
        paused = endpointer.paused_segment
        if paused is not None:
            known = self.draft is not None and self.draft.fits(paused)
            return None if known else self._decode(paused, final=True)
        # In the first moments of a pause other work would hold up the closing draft.
        segment = None if endpointer.in_pause else endpointer.open_segment
        if segment is None:
            return None
        length_s = segment.end_s - segment.start_s
        least_s = self._tried_s + max(self.interval_s, self._cost_s / _PARTIAL_SHARE)
        due = partials and length_s >= least_s
        sound = self.ahead.look(segment.samples)
        if sound is None:
            # What is about to be read ahead serves a partial, too.
            soon = self.ahead.due_s - length_s < self.interval_s
            return self._decode(segment, final=False) if due and not soon else None
        return self._decode(segment, final=False, sound=sound) if due else None

    def fitting(self, segment: Segment) -> Draft | None:
        """The last draft if it heard exactly `segment`."""
        return self.draft if self.draft is not None and self.draft.fits(segment) else None

    def final(self, segment: Segment) -> Heard:
        """What a finished segment says, at once if it was drafted."""
        draft = self.fitting(segment)
        if draft is not None:
            return draft.heard
        return self._read(segment, self.hear(segment), final=True)

    def hear(self, segment: Segment, *, final: bool = True) -> Sound:
        """What the encoder makes of the open segment, or of the one that has just ended."""
        return self.ahead.settled(self.recognizer.hear(segment.samples, final=final))

    def _guess(self, id: int) -> tuple[int, ...]:
        """The last draft of this segment: most of it will be said again."""
        if self.draft is None or self.draft.id != id or self.draft.heard.decoded.flags:
            return ()
        return self.draft.heard.decoded.ids

    def _read(self, segment: Segment, sound: Sound, *, final: bool) -> Heard:
        duration_s = len(segment.samples) / SAMPLE_RATE_HZ
        guess = self._guess(segment.id)
        return self.recognizer.read(sound, duration_s, draft=guess, final=final)

    def _decode(self, segment: Segment, *, final: bool, sound: Sound | None = None) -> Draft:
        """Draft `segment`, or the beginning of it that was heard as `sound`."""
        started = time.perf_counter()
        if sound is None:
            sound = self.hear(segment, final=final)
        heard = self._read(segment, sound, final=final)
        self._cost_s = time.perf_counter() - started
        self._tried_s = segment.end_s - segment.start_s
        self.draft = Draft(segment.id, segment.start_sample, segment.end_sample, heard, final)
        return self.draft


def stable_prefix(before: str, now: str) -> str:
    """Whole words that two drafts in a row agree on."""
    words = []
    for old, new in zip(before.split(), now.split(), strict=False):
        if old != new:
            break
        words.append(new)
    return " ".join(words)
